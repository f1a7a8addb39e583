"""Requirements: the models that the steps of a run need, as far as is known before they run."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import Any

from dw.engine.calls.acceleration import usable
from dw.engine.calls.call_settings import setting_changes
from dw.engine.calls.ip_adapter import IpAdapterFile, find_ip_adapter, ip_adapter_changes
from dw.engine.calls.loras import LoraAdapter, find_loras, lora_changes
from dw.engine.calls.offloading import offload_changes
from dw.engine.checks.schedulers import schedulers_of
from dw.engine.checks.signatures import check_concrete, check_workflow
from dw.engine.errors import failing
from dw.engine.execution.run import RunState
from dw.engine.models.cache import CachedComponent, StepRequirement
from dw.engine.models.model_state import Change
from dw.engine.models.planner import Planner
from dw.engine.models.spec import PipelineSpec
from dw.engine.python import resolve
from dw.errors import DwError
from dw.workflow import Document, Workflow
from dw.workflow.diagnostics import raise_on_errors
from dw.workflow.format.configuration import Configuration
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.references import result_references


def requirements(
    run: RunState, document: Document, workflow: Workflow, prefix: str = ""
) -> Generator[StepRequirement, None, bool]:
    """What every step needs, those of sub-workflows as well, up to a step that releases models:
    what comes after it is loaded when it is reached, and has the room. Returns whether there is
    such a step.

    Finds and downloads what a call needs besides, so that it is not missing after a long load.
    Raises WorkflowError for what is found only here.
    """
    planner = run.planner.beside(document.path.parent)
    for index, step in enumerate(workflow.steps):
        run.context.control.check()
        run.step = f"{prefix}{step.name}"
        with failing(run.where):
            if (pipeline := workflow.pipeline_of(step)) is not None:
                spec = planner.pipeline(pipeline, workflow.sharers_of(pipeline))
                raise_on_errors(document.path, check_concrete(document, spec, workflow, index))
                if step.pipeline is not None:
                    raise_on_errors(document.path, schedulers_of(document, spec, pipeline, index))
                adapters_of(pipeline, spec, planner)
                usable(pipeline.configuration, run.warn, rehearse=planner.context.rehearse)
                yield StepRequirement(run.step, spec)
            elif step.task is not None:
                yield from planner.needs_of(step.task, run.step)
            elif step.workflow is not None:
                child = document.children[step.workflow.path]
                if (yield from _of_child(run, child, step.workflow.arguments)):
                    return True
        if step.release_models or step.release_pipeline:
            return True
    return False


Adapters = tuple[list[LoraAdapter], IpAdapterFile | None]


def adapters_of(pipeline: Pipeline, spec: PipelineSpec, planner: Planner) -> Adapters:
    """The LoRAs and the IP-Adapter that a pipeline should have; downloads their files."""
    loras = find_loras(spec.cls, pipeline, planner.context)
    encoder = spec.components.get("image_encoder")
    return loras, find_ip_adapter(pipeline, planner.context, encoder)


def wanted_changes(
    spec: PipelineSpec,
    configuration: Configuration,
    models: Mapping[str, CachedComponent],
    adapters: Adapters,
) -> list[Change]:
    """All that a pipeline wants changed on its models, in the order in which it is applied. Raises
    RunFailed for what the pipeline or its models do not have."""
    changes = list(offload_changes(spec, models))
    if not resolve.is_from_transformers(spec.cls):
        values = {name: model.value for name, model in models.items()}
        loras, ip_adapter = adapters
        changes += setting_changes(configuration, values)
        changes += lora_changes(spec.cls, loras)
        changes += ip_adapter_changes(spec.cls, values, ip_adapter)
    return sorted(changes, key=lambda change: change.layer)


def _of_child(
    run: RunState, child: Document, arguments: Mapping[str, Any]
) -> Generator[StepRequirement, None, bool]:
    known = {n: v for n, v in arguments.items() if not any(result_references(v))}
    # With results among its arguments, what does not fit its defaults may fit these.
    forgiven = (DwError,) if len(known) < len(arguments) else ()
    with suppress(*forgiven):
        workflow = child.bind(known)
        trust = run.planner.context.trust
        raise_on_errors(child.path, check_workflow(child, workflow, trust=trust))
        return (yield from requirements(run, child, workflow, f"{run.step}."))
    return False
