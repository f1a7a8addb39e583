"""The workflow format as pydantic models: a valid workflow with its variables filled in.

The field descriptions are the reference of the format. Names of Python objects (`component_type`,
`torch_dtype`, ...) stay strings here; the engine resolves them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.chain import Chain, check_chain
from dw.workflow.format.comfyui import ComfyUI
from dw.workflow.format.input import Input
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.format.result import Result
from dw.workflow.format.scalars import Many, Name, Seed, Text
from dw.workflow.format.section import Section
from dw.workflow.inputs import check_defaults

MOST_STEPS = 1000
MOST_ITERATIONS = 10_000
"""Of one step. More is most likely a mistake in the workflow."""

ACTIONS = ("pipeline", "pipeline_reference", "task", "comfyui", "workflow")


class PipelineReference(Section):
    """Calls the pipeline of an earlier step again, with other arguments."""

    closed = True

    reference_name: Text = Field(description="the earlier step that has the pipeline")
    arguments: dict[str, Any] = Field(description="arguments of the pipeline's call")
    chain: Chain | None = Field(None, description="one long video from several calls")

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from check_chain(data)


class Task(Section):
    """Runs a command."""

    command: Text = Field(description="what to do: resize_center_crop, gather_images, ...")
    arguments: dict[str, Any] | None = Field(None, description="arguments of the command")
    inputs: list[Any] | None = Field(
        None, max_length=MOST_ITERATIONS, description="the command runs once for each of these"
    )
    pipeline_reference: Text | None = Field(
        None, description="the earlier step whose processor batch_decode_post_process uses"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if data.get("arguments") is not None and data.get("inputs") is not None:
            message = "a task takes 'arguments' or 'inputs', not both"
            yield DataDiagnostic(("inputs",), message, at_key=True)


class SubWorkflow(Section):
    """Runs another workflow, whose results are those of its last step."""

    path: Text = Field(
        description="another workflow: a file relative to this one, a bare name, or one that comes "
        "with dw as in `builtin:augment_prompt.json`"
    )
    arguments: dict[str, Any] = Field(default_factory=dict, description="values of its variables")


class Step(Section):
    """Does one thing: `pipeline`, `pipeline_reference`, `task`, `comfyui` or `workflow`."""

    name: Name = Field(description="name by which later steps refer to its results")
    seed: Seed | None = Field(None, description="overrides the workflow's seed")
    pipeline: Pipeline | None = Field(None, description="call a diffusers pipeline")
    pipeline_reference: PipelineReference | None = Field(
        None, description="call the pipeline of an earlier step again"
    )
    task: Task | None = Field(None, description="run a command on images, videos, audio or text")
    comfyui: ComfyUI | None = Field(None, description="have a ComfyUI server run a graph")
    workflow: SubWorkflow | None = Field(None, description="run another workflow")
    release_pipeline: bool = Field(
        False,
        description="free the step's pipeline, except components that later steps of this file "
        "use; models of later steps are loaded when these run",
    )
    release_models: bool = Field(
        False,
        description="free the models of all earlier tasks, also of the workflows that run this "
        "one; models of later steps are loaded when these run",
    )
    allow_nan: bool = Field(
        False,
        description="keep results with NaN or infinite values, also those of the workflow that it "
        "runs; otherwise they are an error",
    )
    result: Result | None = Field(
        None, description="how results are saved; without it they are kept for later steps only"
    )

    @property
    def arguments(self) -> Any:
        """What its action is called with; a list for a task that runs several times."""
        if self.task is not None and self.task.inputs is not None:
            return self.task.inputs
        if self.comfyui is not None:
            return self.comfyui.inputs
        action = self.pipeline or self.pipeline_reference or self.task or self.workflow
        assert action is not None
        return action.arguments or {}

    @property
    def chain(self) -> Chain | None:
        action = self.pipeline or self.pipeline_reference
        return None if action is None else action.chain

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        given = [name for name in ACTIONS if data.get(name) is not None]
        for name in given[1:]:
            message = f"a step has one action: {given[0]!r} is given, so {name!r} is not allowed"
            yield DataDiagnostic((name,), message, at_key=True)
        if not given:
            yield DataDiagnostic((), f"a step needs one of {', '.join(map(repr, ACTIONS))}")


class Workflow(Section):
    """A workflow file."""

    id: Name = Field(description="names the workflow and its files")
    description: str | None = Field(None, description="free text")
    variables: dict[str, Any] = Field(
        default_factory=dict,
        description="arguments of the workflow: name to default, whose type is the argument's",
    )
    inputs: dict[str, Input] = Field(
        default_factory=dict, description="limits on the values of variables, by their names"
    )
    required: list[Text] = Field(
        default_factory=list, description="variables that each run must be given a value for"
    )
    seed: Seed | None = Field(None, description="default seed; without it each run draws one")
    timeout: float | None = Field(
        None, gt=0, description="seconds that a run may execute; loading does not count"
    )
    steps: Many[Step] = Field(
        min_length=1, max_length=MOST_STEPS, description="what to do, in order"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        yield from check_defaults(data)
        variables = data.get("variables")
        known = variables if isinstance(variables, Mapping) else {}
        inputs, required = data.get("inputs"), data.get("required")
        for name in inputs if isinstance(inputs, Mapping) else ():
            if name not in known:
                yield DataDiagnostic(("inputs", name), _undeclared(name, known), at_key=True)
        for index, name in enumerate(required if isinstance(required, list) else ()):
            if isinstance(name, str) and name not in known:
                yield DataDiagnostic(("required", index), _undeclared(name, known))

    def pipeline_of(self, step: Step) -> Pipeline | None:
        """The pipeline that a step calls: its own, or that of the earlier step that it names."""
        if step.pipeline_reference is None:
            return step.pipeline
        return self.pipeline_named(step.pipeline_reference.reference_name)

    def pipeline_named(self, step: str) -> Pipeline | None:
        """The pipeline of the step of this name, if it has one."""
        return next((each.pipeline for each in self.steps if each.name == step), None)

    def sharers_of(self, pipeline: Pipeline) -> dict[str, Pipeline]:
        """For each component that a pipeline reuses, the last one before it that shares it."""
        found: dict[str, Pipeline] = {}
        for step in self.steps:
            if step.pipeline is pipeline:
                break
            if step.pipeline is not None:
                found |= dict.fromkeys(step.pipeline.shared, step.pipeline)
        return {name: found[name] for name in pipeline.reused if name in found}


def _undeclared(name: str, variables: Mapping[str, Any]) -> str:
    return f"there is no variable {name!r}{did_you_mean(name, variables)}"
