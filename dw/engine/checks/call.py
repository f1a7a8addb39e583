"""Calls: arguments and chain against the parameters of a pipeline's call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from typing import Any

import diffusers

from dw.engine.checks.ranges import check_ranges
from dw.engine.python.annotations import type_error
from dw.engine.python.keywords import unknown_argument
from dw.engine.python.signatures import call_parameters
from dw.errors import did_you_mean
from dw.vocabulary import OTHER_NAMES, meant_by, same_word, way_of
from dw.workflow.checks.classes import diffusers_names
from dw.workflow.checks.keys import meaning
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.chain import REFERENCES
from dw.workflow.format.model import PipelineReference
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.json_path import JsonPath


def check_call(
    cls: Any,
    parameters: Mapping[str, Parameter],
    function: Callable[..., Any],
    action: Pipeline | PipelineReference,
    path: JsonPath,
) -> Diagnostics:
    """Arguments that the call of a pipeline class does not take, also those that its chain sets.
    `parameters` are those of the call, `function`."""
    title = cls.__name__
    for name, value in action.arguments.items():
        where = (*path, "arguments", name)
        if name == "generator":
            yield DataDiagnostic(where, f"{name!r} cannot be given{way_of(name)}", at_key=True)
        elif name not in parameters:
            if message := _unknown(cls, name, value, parameters, function):
                yield DataDiagnostic(where, message, at_key=True)
        elif wrong := type_error(parameters[name], value):
            yield DataDiagnostic(where, wrong)
        elif value in ("None", "null") and isinstance(value, str):
            message = f"{name!r} is the text {value!r}; without quotes null leaves it out"
            yield DataDiagnostic(where, message, "warning")
    for diagnostic in check_ranges(cls, parameters, action.arguments):
        yield diagnostic.below((*path, "arguments"))
    if (chain := action.chain) is None:
        return
    given = {"segment_argument": chain.segment_argument}
    given |= {"prompts": "prompt"} if chain.prompts else {}
    given |= {"match_audio": REFERENCES} if chain.match_audio else {}
    for key, name in given.items():
        if name not in parameters:
            hint = did_you_mean(name, parameters)
            message = f"{key!r} gives the argument {name!r}, which {title} does not take{hint}"
            yield DataDiagnostic((*path, "chain", key), message)


_TASKS = (
    "Img2Img",
    "ImageToImage",
    "ImageToVideo",
    "Inpaint",
    "Inpainting",
    "VideoToVideo",
    "ControlNet",
    "Kontext",
)


def _unknown(
    cls: Any,
    name: str,
    value: Any,
    parameters: Mapping[str, Parameter],
    function: Callable[..., Any],
) -> str | None:
    """The error for an argument that the call does not take, with what to write instead."""
    message = unknown_argument(cls.__name__, name, parameters, function)
    hint = did_you_mean(name, parameters) if meant_by(name, parameters) else ""
    hint = hint or _relatives(cls, name) or meaning(name, parameters, value)
    return f"{cls.__name__} takes no argument {name!r}{hint}" if message and hint else message


def _relatives(cls: Any, name: str) -> str:
    """The pipelines for other tasks on the same models that take the argument, also under the name
    that it has here, as the end of a sentence."""
    stem = cls.__name__.removesuffix("Pipeline")
    for task in sorted(_TASKS, key=len, reverse=True):
        stem = stem.replace(task, "")
    others = [f"{stem}{task}Pipeline" for task in _TASKS]
    for each in (name, *OTHER_NAMES.get(same_word(name), ())):
        found = [
            other
            for other in others
            if other in diffusers_names() and each in call_parameters(getattr(diffusers, other))
        ]
        if found:
            what = "it" if each == name else repr(each)
            return f"; {' and '.join(found)} {'take' if len(found) > 1 else 'takes'} {what}"
    return ""


def component_names(pipeline: Pipeline) -> Iterator[tuple[str, JsonPath]]:
    """The components that the pipeline must have besides its overrides, and their JSON paths in it.
    In lists the name is the value there, elsewhere the key."""
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
