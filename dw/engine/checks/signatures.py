"""A workflow against the installed classes: everything that would fail later, found before
anything loads."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from inspect import Parameter, signature
from typing import Any

from diffusers import SchedulerMixin

from dw.engine.calls.acceleration import check_acceleration
from dw.engine.calls.calling import method_of
from dw.engine.checks.keywords import unknown_argument
from dw.engine.checks.placement import check_placement, check_settings, no_component
from dw.engine.checks.transformers_models import check_transformers_class
from dw.engine.files.objects import check_objects
from dw.engine.media.audio import FORMATS as AUDIO_FORMATS
from dw.engine.media.audio import settings as audio_settings
from dw.engine.models.spec import PipelineSpec
from dw.engine.models.spec_builder import LOADER_ARGUMENTS
from dw.engine.python import resolve
from dw.engine.python.annotations import type_error
from dw.engine.python.signatures import call_parameters, constructor_signature
from dw.engine.tasks import check_reference, check_task
from dw.errors import RunFailed, WorkflowError, did_you_mean
from dw.workflow import Diagnostic, Document
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.chain import REFERENCES, Chain
from dw.workflow.format.model import ACTIONS, PipelineReference, Step, Task, Workflow
from dw.workflow.format.modular import MODULAR
from dw.workflow.format.pipeline import Component, Pipeline, Scheduler
from dw.workflow.format.result import Result
from dw.workflow.json_path import JsonPath
from dw.workflow.references import is_reference


def check_workflow(
    document: Document, workflow: Workflow, *, trust: bool = False
) -> tuple[Diagnostic, ...]:
    """What the steps of a bound workflow ask of the classes that they name, and these do not
    have or take."""
    return tuple(
        document.locate(diagnostic)
        for index, step in enumerate(workflow.steps)
        for diagnostic in _check_step(workflow, step, ("steps", index), trust)
    )


def check_concrete(
    document: Document, spec: PipelineSpec, workflow: Workflow, index: int
) -> tuple[Diagnostic, ...]:
    """The misfits of a step whose class is a generic one, with the class that the model's index
    names."""
    step, path = workflow.steps[index], ("steps", index)
    pipeline = workflow.pipeline_of(step)
    if pipeline is None:
        return ()
    if spec.cls.__name__ == pipeline.configuration.component_type and not _is_custom(pipeline):
        return ()  # checked already
    found = _check_call_of(spec.cls, step, path, blocks=getattr(spec, "blocks", None))
    return tuple(map(document.locate, found))


def _is_custom(pipeline: Pipeline) -> bool:
    """Whether its class is in code that comes with the workflow, which is read when it is run."""
    return pipeline.from_pretrained_arguments.get("custom_pipeline") is not None


def check_action(
    title: str,
    parameters: Mapping[str, Parameter],
    function: Callable[..., Any],
    action: Pipeline | PipelineReference,
    path: JsonPath,
) -> Diagnostics:
    """What a call does not take of what it is given, by its arguments and by its chain."""
    yield from _call(title, parameters, function, action.arguments, (*path, "arguments"))
    if action.chain is not None:
        yield from _chain(title, parameters, action.chain, (*path, "chain"))


def _call(
    title: str,
    parameters: Mapping[str, Parameter],
    function: Callable[..., Any],
    arguments: Mapping[str, Any],
    path: JsonPath,
) -> Diagnostics:
    """Names that the pipeline's call does not take, and values that are not of their type."""
    for name, value in arguments.items():
        if name in parameters:
            yield from _check_value(parameters[name], value, (*path, name))
        elif message := unknown_argument(title, name, parameters, function):
            yield DataDiagnostic((*path, name), message, at_key=True)


def _check_value(parameter: Parameter, value: Any, path: JsonPath) -> Diagnostics:
    if (message := type_error(parameter, value)) is not None:
        yield DataDiagnostic(path, message)
    elif parameter.name == "num_inference_steps" and isinstance(value, int) and value < 1:
        yield DataDiagnostic(path, f"{parameter.name!r} must be at least 1, got {value}")


def _chain(title: str, parameters: Iterable[str], chain: Chain, path: JsonPath) -> Diagnostics:
    """What a chain gives to the calls that these do not take."""
    given = {"segment_argument": chain.segment_argument}
    given |= {"prompts": "prompt"} if chain.prompts else {}
    given |= {"match_audio": REFERENCES} if chain.match_audio else {}
    for key, name in given.items():
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            message = f"{key!r} gives the argument {name!r}, which {title} does not take{hint}"
            yield DataDiagnostic((*path, key), message)


def check_loader(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    """Names that neither the loader nor the pipeline's constructor takes."""
    signature = constructor_signature(cls)
    yield from _check_loader_names(
        pipeline.from_pretrained_arguments, (*signature.components, *signature.scalars), path
    )
    for name in signature.components:
        if pipeline.from_pretrained_arguments.get(name) is not None:
            message = f"{name!r} must be null here; a component goes beside 'configuration'"
            yield DataDiagnostic((*path, "from_pretrained_arguments", name), message)
    for name in pipeline.components:
        if name not in signature.components:
            message = no_component(cls.__name__, name, signature.components)
            yield DataDiagnostic((*path, name), message, at_key=True)


def component_names(pipeline: Pipeline) -> Iterator[tuple[str, JsonPath]]:
    """What the pipeline should have, beside its overrides: the names, and where they stand in it.
    Those in lists are values, the others keys."""
    for name in pipeline.schedulers:
        yield name, (name,)
    for key in ("torch_dtype", "dtype"):
        by_name = pipeline.from_pretrained_arguments.get(key)
        for name in by_name if isinstance(by_name, dict) else ():
            if name != "default":
                yield name, ("from_pretrained_arguments", key, name)
    for key in ("shared_components", "reused_components"):
        holders: tuple[tuple[JsonPath, Any], ...] = (
            ((), pipeline),
            (("configuration",), pipeline.configuration),
        )
        for where, holder in holders:
            for index, name in enumerate(getattr(holder, key)):
                yield name, (*where, key, index)


def _check_step(workflow: Workflow, step: Step, path: JsonPath, trust: bool) -> Diagnostics:
    for where, arguments in _given(step, path):
        yield from check_objects(arguments, where, trust=trust)
    if step.pipeline is not None:
        yield from _check_pipeline(step.pipeline, (*path, "pipeline"), trust)
    if (pipeline := workflow.pipeline_of(step)) is not None:
        with suppress(WorkflowError):  # told where the class is named
            cls = resolve.pipeline_class(pipeline.configuration.component_type, trust=trust)
            if not _is_custom(pipeline):
                yield from _check_call_of(cls, step, path)
    elif step.task is not None:
        yield from _check_task(step.task, (*path, "task"))
    if step.result is not None and step.result.content_type in AUDIO_FORMATS:
        yield from _check_audio(step.result, (*path, "result"))


def _check_audio(result: Result, path: JsonPath) -> Diagnostics:
    """A format and a subtype that libsndfile does not have."""
    try:
        audio_settings(result)
    except RunFailed as error:
        key = "format" if result.subtype is None else "subtype"
        yield DataDiagnostic((*path, key), error.message)


def _given(step: Step, path: JsonPath) -> Iterator[tuple[JsonPath, Any]]:
    """The arguments of the step's action, and where they are."""
    for name in ACTIONS:
        for key in ("arguments", "inputs"):
            if (arguments := getattr(getattr(step, name), key, None)) is not None:
                yield (*path, name, key), arguments


def _check_task(task: Task, path: JsonPath) -> Diagnostics:
    for diagnostic in check_reference(task.command, task.pipeline_reference):
        yield diagnostic.below(path)
    given: list[tuple[JsonPath, Any]] = [((*path, "arguments"), task.arguments or {})]
    if task.inputs is not None:
        given = [((*path, "inputs", index), item) for index, item in enumerate(task.inputs)]
    for where, arguments in given:
        if isinstance(arguments, str) and is_reference(arguments):
            continue
        for diagnostic in check_task(task.command, arguments):
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
    """`blocks`: of a modular pipeline whose model is known."""
    if resolve.is_generic(cls):
        return  # the model's index names the class; the run checks it then
    action = step.pipeline or step.pipeline_reference
    assert action is not None
    here = (*path, "pipeline_reference" if step.pipeline is None else "pipeline")
    if resolve.is_modular(cls):
        from dw.engine.checks.blocks import check_step  # what it imports is needed by few workflows

        yield from check_step(cls, blocks, step, here)
        return
    if resolve.is_from_transformers(cls):
        if step.pipeline is not None:
            yield from check_transformers_class(cls, step.pipeline, here)
        return
    method = "__call__" if step.pipeline is None else method_of(step.pipeline.configuration)
    if not hasattr(cls, method):
        key = {"invert": "inversion"}.get(method, method)
        message = f"{cls.__name__} has no {method!r}"
        yield DataDiagnostic((*here, "configuration", key), message, at_key=True)
        return
    parameters = call_parameters(cls, method)
    yield from check_action(cls.__name__, parameters, getattr(cls, method), action, here)
    if step.pipeline is not None:
        yield from _check_class(cls, step.pipeline, here)


def _check_class(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    yield from check_loader(cls, pipeline, path)
    yield from check_acceleration(cls, pipeline.configuration, (*path, "configuration"))
    components = constructor_signature(cls).components
    yield from check_placement(cls.__name__, components, pipeline, path)
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


def _check_loader_names(
    arguments: Mapping[str, Any], own: Iterable[str], path: JsonPath
) -> Diagnostics:
    known = (*LOADER_ARGUMENTS, *own)
    for name in arguments:
        where = (*path, "from_pretrained_arguments", name)
        if name not in known:
            hint = did_you_mean(name, known)
            yield DataDiagnostic(where, f"the loader takes no {name!r}{hint}", at_key=True)


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
            yield from _check_loader_names(component.from_pretrained_arguments, (), path)
