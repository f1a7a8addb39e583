"""Signatures: a workflow against the installed classes, before anything loads.

A misspelled argument must not be found after minutes of loading: what can be compared with the
parameters of a class, its constructor and its call, is compared here.
"""

from __future__ import annotations

from contextlib import suppress
from inspect import signature
from itertools import product
from typing import Any

from diffusers import SchedulerMixin
from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

from dw.engine.calls.acceleration import check_acceleration
from dw.engine.calls.calling import method_of
from dw.engine.checks.call import check_call, component_names
from dw.engine.checks.loader_arguments import check_loader_arguments
from dw.engine.checks.placement import check_placement, check_settings, no_component
from dw.engine.checks.results import check_name, check_pipeline_result, check_task_result
from dw.engine.checks.transformers_models import check_transformers_class
from dw.engine.files.objects import check_objects
from dw.engine.media.audio import FORMATS as AUDIO_FORMATS
from dw.engine.media.audio import settings as audio_settings
from dw.engine.models.schedulers import is_for_flow, not_for_flow
from dw.engine.models.spec import PipelineSpec
from dw.engine.python import resolve
from dw.engine.python.signatures import call_parameters, component_types, constructor_signature
from dw.engine.tasks import check_reference, check_task
from dw.errors import RunFailed, WorkflowError, did_you_mean
from dw.workflow import Diagnostic, Document
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import ACTIONS, Step, Task, Workflow
from dw.workflow.format.modular import MODULAR
from dw.workflow.format.pipeline import Component, Pipeline, Scheduler
from dw.workflow.json_path import JsonPath
from dw.workflow.references import is_reference


def check_workflow(
    document: Document, workflow: Workflow, *, trust: bool = False
) -> tuple[Diagnostic, ...]:
    """The diagnostics of all steps of a bound workflow."""
    return tuple(
        document.locate(diagnostic)
        for index, step in enumerate(workflow.steps)
        for diagnostic in _check_step(workflow, step, ("steps", index), trust)
    )


def check_concrete(
    document: Document, spec: PipelineSpec, workflow: Workflow, index: int
) -> tuple[Diagnostic, ...]:
    """The diagnostics of a step whose class became known by its model: `spec.cls` in the place of a
    generic class such as `DiffusionPipeline`, or code that comes with the model."""
    step, path = workflow.steps[index], ("steps", index)
    pipeline = workflow.pipeline_of(step)
    if pipeline is None:
        return ()
    if spec.cls.__name__ == pipeline.configuration.component_type and not _is_custom(pipeline):
        return ()  # checked already
    found = _check_call_of(spec.cls, step, path, blocks=getattr(spec, "blocks", None))
    return tuple(map(document.locate, found))


def _is_custom(pipeline: Pipeline) -> bool:
    """Whether its class is code of a repository or folder, which only a run imports."""
    return pipeline.from_pretrained_arguments.get("custom_pipeline") is not None


def check_loader(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    """Names that neither `from_pretrained` nor the constructor takes."""
    signature = constructor_signature(cls)
    yield from check_loader_arguments(
        pipeline.from_pretrained_arguments,
        (*path, "from_pretrained_arguments"),
        own=(*signature.components, *signature.scalars),
        is_pipeline=True,
    )
    for name in signature.components:
        if pipeline.from_pretrained_arguments.get(name) is not None:
            # null keeps a component from being loaded; JSON has no other value for one.
            message = f"{name!r} must be null here; a component goes beside 'configuration'"
            yield DataDiagnostic((*path, "from_pretrained_arguments", name), message)
    for name in pipeline.components:
        if name not in signature.components:
            message = no_component(cls.__name__, name, signature.components)
            yield DataDiagnostic((*path, name), message, at_key=True)


def _check_step(workflow: Workflow, step: Step, path: JsonPath, trust: bool) -> Diagnostics:
    for name, key in product(ACTIONS, ("arguments", "inputs")):
        if (given := getattr(getattr(step, name), key, None)) is not None:
            yield from check_objects(given, (*path, name, key), trust=trust)
    if step.pipeline is not None:
        yield from _check_pipeline(step.pipeline, (*path, "pipeline"), trust)
    if (pipeline := workflow.pipeline_of(step)) is not None:
        # An unknown class is reported by `_check_pipeline` of the step that names it; a step that
        # only refers to that pipeline adds nothing.
        with suppress(WorkflowError):
            cls = resolve.pipeline_class(pipeline.configuration.component_type, trust=trust)
            if not _is_custom(pipeline):
                yield from _check_call_of(cls, step, path)
    elif step.task is not None:
        yield from _check_task(step.task, (*path, "task"))
        yield from check_task_result(step, path)
    yield from check_name(workflow, step, path)
    if step.result is not None and step.result.content_type in AUDIO_FORMATS:
        try:
            audio_settings(step.result)
        except RunFailed as error:  # libsndfile does not write it
            key = "format" if step.result.subtype is None else "subtype"
            yield DataDiagnostic((*path, "result", key), error.message)


def _check_task(task: Task, path: JsonPath) -> Diagnostics:
    for diagnostic in check_reference(task.command, task.pipeline_reference):
        yield diagnostic.below(path)
    given: list[tuple[JsonPath, Any]] = [((*path, "arguments"), task.arguments or {})]
    if task.inputs is not None:
        given = [((*path, "inputs", index), item) for index, item in enumerate(task.inputs)]
    for where, arguments in given:
        if isinstance(arguments, str) and is_reference(arguments):
            continue  # a whole item may be a result, which is not known before the run
        for diagnostic in check_task(task.command, arguments):
            # One without a path is about the command as a whole: its name, a missing argument.
            yield diagnostic.below(where if diagnostic.path else (*path, "command"))


def _check_pipeline(pipeline: Pipeline, path: JsonPath, trust: bool) -> Diagnostics:
    where = (*path, "configuration", "component_type")
    try:
        resolve.pipeline_class(pipeline.configuration.component_type, trust=trust)
    except WorkflowError as error:
        yield DataDiagnostic(where, error.message)
    yield from check_settings(pipeline, path, trust=trust)
    for name, scheduler in pipeline.schedulers.items():
        yield from _check_scheduler(scheduler, (*path, name), trust)
    for name, component in pipeline.components.items():
        yield from _check_component(component, (*path, name), trust)


def _check_call_of(cls: Any, step: Step, path: JsonPath, blocks: Any = None) -> Diagnostics:
    """The step against its class. `blocks`: of a modular pipeline whose model is known."""
    if resolve.is_generic(cls):
        return  # only the model's index names the class: the run calls `check_concrete` for it
    action = step.pipeline or step.pipeline_reference
    assert action is not None
    here = (*path, "pipeline_reference" if step.pipeline is None else "pipeline")
    if resolve.is_modular(cls):
        # Modular pipelines are rare, and their blocks take 0.25 s to import.
        from dw.engine.checks.blocks import check_modular_step

        yield from check_modular_step(cls, blocks, step, here)
        return
    if resolve.is_from_transformers(cls):
        if step.pipeline is not None:
            yield from check_transformers_class(cls, step.pipeline, here)
        return
    method = "__call__" if step.pipeline is None else method_of(step.pipeline.configuration)
    if not hasattr(cls, method):
        key = {"invert": "inversion"}.get(method, method)  # the key that asks for the method
        message = f"{cls.__name__} has no {method!r}"
        yield DataDiagnostic((*here, "configuration", key), message, at_key=True)
        return
    parameters = call_parameters(cls, method)
    if method == "__call__":
        yield from check_pipeline_result(cls, parameters, step, path)
    yield from check_call(cls, parameters, getattr(cls, method), action, here)
    if step.pipeline is not None:
        yield from _check_class(cls, step.pipeline, here)


def _check_class(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    yield from check_loader(cls, pipeline, path)
    yield from check_acceleration(cls, pipeline.configuration, (*path, "configuration"))
    components = constructor_signature(cls).components
    yield from check_placement(cls.__name__, components, pipeline, path)
    for name, scheduler in pipeline.schedulers.items():
        wanted = (scheduler.scheduler_type or "").rpartition(".")[2]
        if is_for_flow(wanted) and KarrasDiffusionSchedulers in component_types(cls, name):
            where = (*path, name, "configuration", "scheduler_type")
            yield DataDiagnostic(where, not_for_flow(wanted))
    for name, where in component_names(pipeline):
        if name not in components:
            message = no_component(cls.__name__, name, components)
            yield DataDiagnostic((*path, *where), message, at_key=where[-1] == name)
    for key in sorted(MODULAR & pipeline.configuration.model_fields_set):
        message = f"{key!r} is for modular pipelines, not for {cls.__name__}"
        yield DataDiagnostic((*path, "configuration", key), message, "warning", at_key=True)
    if pipeline.loras and not hasattr(cls, "load_lora_weights"):
        yield DataDiagnostic((*path, "loras"), f"{cls.__name__} takes no LoRA")
    if pipeline.remote_text_encoder and "prompt_embeds" not in call_parameters(cls):
        message = f"{cls.__name__} takes no 'prompt_embeds' in the place of its prompt"
        yield DataDiagnostic((*path, "remote_text_encoder"), message)
    if pipeline.ip_adapter and not hasattr(cls, "load_ip_adapter"):
        yield DataDiagnostic((*path, "ip_adapter"), f"{cls.__name__} takes no IP-Adapter")


def _check_scheduler(scheduler: Scheduler, path: JsonPath, trust: bool) -> Diagnostics:
    if scheduler.scheduler_type is None:
        return
    try:
        cls = resolve.scheduler_class(scheduler.scheduler_type, trust=trust)
    except WorkflowError as error:
        yield DataDiagnostic((*path, "configuration", "scheduler_type"), error.message)
        return
    known = signature(cls.__init__).parameters.keys() - {"self"}
    for name in scheduler.from_config_args.keys() - known:
        message = f"{cls.__name__} has no setting {name!r}{did_you_mean(name, known)}"
        yield DataDiagnostic((*path, "from_config_args", name), message, at_key=True)
    if scheduler.shift is not None and not hasattr(cls, "set_shift"):
        yield DataDiagnostic((*path, "shift"), f"{cls.__name__} has no shift to set")


def _check_component(component: Component, path: JsonPath, trust: bool) -> Diagnostics:
    try:
        cls = resolve.component_class(component.configuration.component_type, trust=trust)
    except WorkflowError as error:
        yield DataDiagnostic((*path, "configuration", "component_type"), error.message)
    else:
        if not issubclass(cls, SchedulerMixin):
            where = (*path, "from_pretrained_arguments")
            given = component.from_pretrained_arguments
            yield from check_loader_arguments(given, where, is_pipeline=False)
