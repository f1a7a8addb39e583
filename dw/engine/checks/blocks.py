"""Blocks of modular pipelines: a workflow against their components, settings and inputs."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from dw.engine.checks.call import check_call, component_names
from dw.engine.checks.loader_arguments import check_loader_arguments
from dw.engine.models import modular
from dw.errors import WorkflowError, did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import Step
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.json_path import JsonPath, spell_value


@dataclass(frozen=True)
class _Name:
    """A name that the blocks must have, and its JSON path in the pipeline's object."""

    name: Any
    kind: str
    known: Collection[str]
    where: JsonPath
    at_key: bool


def check_modular_step(cls: Any, blocks: Any, step: Step, path: JsonPath) -> Diagnostics:
    """What the step's blocks do not have or take, and what modular pipelines do not support.
    `blocks`: None before its model is known; then those of the class are used."""
    action = step.pipeline or step.pipeline_reference
    assert action is not None
    if blocks is None:
        if (blocks := modular.default_blocks(cls)) is None:
            return
        workflow = step.pipeline and step.pipeline.from_pretrained_arguments.get("workflow")
        try:
            blocks = modular.selected(blocks, workflow) if workflow else blocks
        except WorkflowError as error:
            yield DataDiagnostic((*path, "from_pretrained_arguments", "workflow"), error.message)
    parameters = modular.call_parameters(blocks)
    yield from check_call(cls, parameters, cls.__call__, action, path)
    if step.pipeline is not None:
        yield from _check_pipeline(blocks, step.pipeline, path)


def _check_pipeline(blocks: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    for each in _names(blocks, pipeline):
        if each.name not in each.known:
            near = did_you_mean(each.name, each.known) if isinstance(each.name, str) else ""
            hint = near or f"; it has {', '.join(each.known) or 'none'}"
            got = f"{type(blocks).__name__} has no {each.kind} {spell_value(each.name)}"
            yield DataDiagnostic((*path, *each.where), got + hint, at_key=each.at_key)
    where = (*path, "configuration")
    if pipeline.configuration.offload == "sequential":
        message = "a modular pipeline offloads whole models only: offload is 'model'"
        yield DataDiagnostic((*where, "offload"), message)
    if pipeline.configuration.enable_attention_slicing:
        message = "a modular pipeline cannot compute attention in slices"
        yield DataDiagnostic((*where, "enable_attention_slicing"), message, at_key=True)
    yield from check_loader_arguments(
        pipeline.from_pretrained_arguments,
        (*path, "from_pretrained_arguments"),
        own=(*_components(blocks), *modular.OPTIONS),
        is_pipeline=True,
    )


def _names(blocks: Any, pipeline: Pipeline) -> Iterator[_Name]:
    configuration, components = pipeline.configuration, _components(blocks)
    loads = configuration.load_components
    for index, name in enumerate(loads.names if loads else ()):
        listed = ("configuration", "load_components", "names", index)
        yield _Name(name, "component", components, listed, at_key=False)
    for key in ("dtype", "quantization_config"):
        by_name = getattr(loads, key, None)
        for name in by_name if isinstance(by_name, dict) else ():
            here = ("configuration", "load_components", key, name)
            known = [*components, "default"] if key == "dtype" else components
            yield _Name(name, "component", known, here, at_key=True)
    for name in pipeline.components:
        yield _Name(name, "component", components, (name,), at_key=True)
    for name, where in component_names(pipeline):
        yield _Name(name, "component", components, where, at_key=where[-1] == name)
    for name in configuration.configs:
        known = [spec.name for spec in blocks.expected_configs]
        yield _Name(name, "setting", known, ("configuration", "configs", name), at_key=True)


def _components(blocks: Any) -> list[str]:
    return [spec.name for spec in blocks.expected_components]
