"""Calls: arguments and chain against the parameters of a pipeline's call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from inspect import Parameter
from typing import Any

from dw.engine.python.annotations import type_error
from dw.engine.python.keywords import unknown_argument
from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.chain import REFERENCES
from dw.workflow.format.model import PipelineReference
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.json_path import JsonPath


def check_call(
    title: str,
    parameters: Mapping[str, Parameter],
    function: Callable[..., Any],
    action: Pipeline | PipelineReference,
    path: JsonPath,
) -> Diagnostics:
    """Arguments that the call of a pipeline class does not take, also those that its chain sets.

    `title` names the class in messages; `parameters` are those of its call, `function`.
    """
    for name, value in action.arguments.items():
        where = (*path, "arguments", name)
        if name not in parameters:
            if message := unknown_argument(title, name, parameters, function):
                yield DataDiagnostic(where, message, at_key=True)
        elif message := type_error(parameters[name], value):
            yield DataDiagnostic(where, message)
        elif name == "num_inference_steps" and isinstance(value, int) and value < 1:
            yield DataDiagnostic(where, f"{name!r} must be at least 1, got {value}")
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
