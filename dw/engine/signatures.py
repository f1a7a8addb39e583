"""A workflow against the installed classes: everything that would fail later, found before
anything loads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import Parameter
from typing import Any

from diffusers import SchedulerMixin

from dw.engine import names
from dw.engine.annotations import wanted
from dw.engine.classes import call_parameters, constructor_signature
from dw.engine.planner import LOADER_ARGUMENTS
from dw.engine.tasks import check_task
from dw.errors import WorkflowError, did_you_mean
from dw.workflow import Document, Problem
from dw.workflow.media import media_kind
from dw.workflow.model import Step, Workflow
from dw.workflow.pipeline import Component, Pipeline
from dw.workflow.problem import Finding
from dw.workflow.references import is_reference
from dw.workflow.tree import JsonPath, spell_value


def check_workflow(
    document: Document, workflow: Workflow, *, trust: bool = False
) -> tuple[Problem, ...]:
    """Every misfit between the steps of a bound workflow and the classes that they name."""
    found = (f for i, step in enumerate(workflow.steps) for f in _step(step, ("steps", i), trust))
    return tuple(document.place(finding) for finding in found)


def check_concrete(document: Document, cls: Any, step: Step, index: int) -> tuple[Problem, ...]:
    """The misfits of a step whose class is a generic one, with the class that the model's index
    names."""
    assert step.pipeline is not None
    if cls.__name__ == step.pipeline.configuration.component_type:
        return ()  # checked already
    found = _fits(cls, step.pipeline, ("steps", index, "pipeline"))
    return tuple(document.place(finding) for finding in found)


def check_call(cls: Any, arguments: Mapping[str, Any], path: JsonPath) -> Iterator[Finding]:
    """Names that the pipeline's call does not take, and values that are not of their type.

    A call with `**kwargs` takes any name; one that is nearly a known one is still a mistake.
    """
    parameters = call_parameters(cls)
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name, value in arguments.items():
        if name in parameters:
            yield from _check_value(parameters[name], value, (*path, name))
        else:
            hint = did_you_mean(name, parameters)
            if hint or not takes_any:
                message = f"{cls.__name__} takes no argument {name!r}{hint}"
                yield Finding((*path, name), message, at_key=True)


def _check_value(parameter: Parameter, value: Any, path: JsonPath) -> Iterator[Finding]:
    if isinstance(value, str) and (is_reference(value) or media_kind(parameter.name)):
        return  # what it will be is of another type
    if (kinds := wanted(parameter.annotation, value)) is not None:
        message = f"{parameter.name!r} must be {kinds}, got {spell_value(value)}"
        yield Finding(path, message)
    elif parameter.name == "num_inference_steps" and isinstance(value, int) and value < 1:
        yield Finding(path, f"{parameter.name!r} must be at least 1, got {value}")


def check_loader(cls: Any, pipeline: Pipeline, path: JsonPath) -> Iterator[Finding]:
    """Names that neither the loader nor the pipeline's constructor takes."""
    signature = constructor_signature(cls)
    yield from _loader(
        pipeline.from_pretrained_arguments, (*signature.components, *signature.scalars), path
    )
    for name in signature.components:
        if pipeline.from_pretrained_arguments.get(name) is not None:
            message = f"{name!r} must be null here; a component goes beside 'configuration'"
            yield Finding((*path, "from_pretrained_arguments", name), message)
    for name in pipeline.components:
        if name not in signature.components:
            hint = did_you_mean(name, signature.components)
            yield Finding(
                (*path, name), f"{cls.__name__} has no component {name!r}{hint}", at_key=True
            )


def _step(step: Step, path: JsonPath, trust: bool) -> Iterator[Finding]:
    if step.pipeline is not None:
        yield from _pipeline(step.pipeline, (*path, "pipeline"), trust)
    elif step.task is not None:
        inputs = step.task.inputs
        given = [step.task.arguments or {}] if inputs is None else inputs
        given = [each for each in given if not (isinstance(each, str) and is_reference(each))]
        where = (*path, "task", "arguments")
        for name, message in (
            problem for item in given for problem in check_task(step.task.command, item)
        ):
            yield Finding((*path, "task", "command") if name is None else (*where, name), message)


def _pipeline(pipeline: Pipeline, path: JsonPath, trust: bool) -> Iterator[Finding]:
    where = (*path, "configuration", "component_type")
    try:
        cls = names.pipeline_class(pipeline.configuration.component_type, trust=trust)
    except WorkflowError as error:
        yield Finding(where, error.message)
    else:
        yield from _fits(cls, pipeline, path)
    yield from _scheduler(pipeline, path, trust)
    for name, component in pipeline.components.items():
        yield from _component(component, (*path, name), trust)


def _fits(cls: Any, pipeline: Pipeline, path: JsonPath) -> Iterator[Finding]:
    if names.is_generic(cls):
        return  # the model's index names the class; the run checks it then
    yield from check_call(cls, pipeline.arguments, (*path, "arguments"))
    yield from check_loader(cls, pipeline, path)
    if pipeline.loras and not hasattr(cls, "load_lora_weights"):
        yield Finding((*path, "loras"), f"{cls.__name__} takes no LoRA")


def _loader(arguments: Mapping[str, Any], own: Iterable[str], path: JsonPath) -> Iterator[Finding]:
    known = (*LOADER_ARGUMENTS, *own)
    for name in arguments:
        where = (*path, "from_pretrained_arguments", name)
        if name not in known:
            hint = did_you_mean(name, known)
            yield Finding(where, f"the loader takes no {name!r}{hint}", at_key=True)


def _scheduler(pipeline: Pipeline, path: JsonPath, trust: bool) -> Iterator[Finding]:
    if pipeline.scheduler is None or pipeline.scheduler.scheduler_type is None:
        return
    try:
        names.scheduler_class(pipeline.scheduler.scheduler_type, trust=trust)
    except WorkflowError as error:
        yield Finding((*path, "scheduler", "configuration", "scheduler_type"), error.message)


def _component(component: Component, path: JsonPath, trust: bool) -> Iterator[Finding]:
    try:
        cls = names.component_class(component.configuration.component_type, trust=trust)
    except WorkflowError as error:
        yield Finding((*path, "configuration", "component_type"), error.message)
    else:
        if not issubclass(cls, SchedulerMixin):
            yield from _loader(component.from_pretrained_arguments, (), path)
