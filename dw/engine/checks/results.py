"""Results: whether the files of a step can hold what it makes, as far as that is known before it
runs."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import lru_cache
from inspect import Parameter
from typing import Any, get_args, get_origin

import numpy as np
from diffusers.utils import BaseOutput
from PIL import Image

from dw.engine.files.disk_space import Extent
from dw.engine.files.file_names import first_name, name_error
from dw.engine.media.audio import Audio
from dw.engine.media.encoding import foreseen
from dw.engine.media.limits import side_error
from dw.engine.media.video import Video
from dw.engine.python import resolve
from dw.engine.python.signatures import call_parameters
from dw.engine.tasks.registry import commands
from dw.workflow import Document
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import Step, Workflow
from dw.workflow.format.result import Result
from dw.workflow.json_path import JsonPath
from dw.workflow.references import result_references

_FIELDS = {
    "images": "image",
    "image": "image",
    "prediction": "image",
    "frames": "video",
    "video": "video",
    "audios": "audio",
    "texts": "text",
}
"""The fields of a pipeline's output that hold artifacts, and their kinds."""

_SOUND = ("audio", "sound")
"""The fields that hold the audio of its videos."""

_ANNOTATIONS = {
    Image.Image: ["image"],
    Video: ["video", "audio"],  # it may have audio, which can be written alone
    np.ndarray: ["video"],
    Audio: ["audio"],
    str: ["text"],
}
"""The kinds of what commands return; the only array is that of all frames."""

_HOLD = {
    "image": ("image/",),
    "video": ("video/", "image/gif"),
    "audio": ("audio/",),
    "text": ("text/",),
}
"""The beginnings of content types that hold a kind."""

_BEST = {
    "image": "image/png",
    "video": "video/mp4 or image/gif",
    "audio": "audio/wav",
    "text": "text/plain",
}

Parameters = Mapping[str, Parameter]


def check_pipeline_result(
    cls: Any, parameters: Parameters, step: Step, path: JsonPath
) -> Diagnostics:
    """The result of a step against the output of its pipeline's class, whose call takes these
    parameters."""
    action = step.pipeline or step.pipeline_reference
    if step.result is None or not step.result.save or action is None:
        return
    given = action.arguments
    is_plain = _value("return_dict", given, parameters) in (None, True)
    is_latent = _value("output_type", given, parameters) in ("latent", "{latent}")
    if is_plain and not is_latent:
        yield from _check_kind(cls.__name__, _made(cls, given, parameters), step.result, path)
    yield from _check_size(given, parameters, step.result, path)


def check_task_result(step: Step, path: JsonPath) -> Diagnostics:
    """The result of a step against what its command returns."""
    command = None if step.task is None else commands().get(step.task.command)
    if step.task is None or step.result is None or not step.result.save or command is None:
        return
    yield from _check_kind(step.task.command, _returned(command.function), step.result, path)
    yield from _check_size(step.task.arguments or {}, command.parameters, step.result, path)


def check_name(workflow: Workflow, step: Step, path: JsonPath) -> Diagnostics:
    """The names of a step's files; its path ends in its index."""
    if step.result is None or not step.result.save:
        return
    if message := name_error(step.result, f"{workflow.id}-{step.name}.{path[-1]}"):
        place = ("result", "file_base_name") if step.result.file_base_name else ("name",)
        yield DataDiagnostic((*path, *place), message)


def extents(document: Document, workflow: Workflow, *, rehearse: bool) -> Iterator[Extent]:
    """What is known of the files of each step, those of sub-workflows as well. A rehearsal chooses
    the sizes itself."""
    trust = document.permissions.trust
    for index, step in enumerate(workflow.steps):
        if step.workflow is not None:
            child, passed = document.children[step.workflow.path], step.workflow.arguments
            known = {n: v for n, v in passed.items() if not any(result_references(v))}
            yield from extents(child, child.partial(known), rehearse=rehearse)
        if step.result is None or not step.result.save:
            continue
        name = first_name(step.result, f"{workflow.id}-{step.name}.{index}")
        if rehearse or (call := _call_of(workflow, step, trust=trust)) is None:
            yield Extent(name, step.result.content_type)
            continue
        given, parameters = call
        pixels = math.prod(asked_size(given, parameters) or (0,))
        frames = _count("num_frames", given, parameters)
        files = _count("num_images_per_prompt", given, parameters)
        prompt = given.get("prompt")
        files *= len(prompt) if isinstance(prompt, list) else 1
        yield Extent(name, step.result.content_type, files, pixels * frames)


def _call_of(
    workflow: Workflow, step: Step, *, trust: bool
) -> tuple[Mapping[str, Any], Parameters] | None:
    """The arguments of a step and the parameters that they are for; None where its class is not
    known."""
    if step.task is not None:
        return step.task.arguments or {}, commands()[step.task.command].parameters
    pipeline = workflow.pipeline_of(step)
    if pipeline is None:
        return None
    action = step.pipeline or step.pipeline_reference
    assert action is not None
    cls = resolve.pipeline_class(pipeline.configuration.component_type, trust=trust)
    return action.arguments, call_parameters(cls)


def _count(name: str, given: Mapping[str, Any], parameters: Parameters) -> int:
    value = _value(name, given, parameters)
    return max(1, value) if type(value) is int else 1


def asked_size(arguments: Any, parameters: Parameters) -> tuple[int, int] | None:
    """The width and height that a call is asked for, None where one is not known."""
    if not isinstance(arguments, Mapping):
        return None
    width, height = (_value(side, arguments, parameters) for side in ("width", "height"))
    if not (type(width) is int and type(height) is int):
        return None
    return width, height


def frame_size(arguments: Any) -> tuple[int, int] | None:
    """The width and height of the first video among the arguments."""
    given = arguments.values() if isinstance(arguments, Mapping) else ()
    video = next((each for each in given if isinstance(each, Video)), None)
    return None if video is None else video.frame(0).size


@lru_cache(maxsize=256)
def output_fields(cls: Any) -> tuple[str, ...]:
    """The fields of what its call returns, read from its source; none where that is not plain."""
    function = inspect.unwrap(cls.__call__)
    try:
        names = re.findall(r"return (\w+)\(", inspect.getsource(function))
    except (OSError, TypeError):  # it has no source
        return ()
    found = (function.__globals__.get(name) for name in names)
    classes = {each for each in found if isinstance(each, type) and issubclass(each, BaseOutput)}
    if len(classes) != 1 or not is_dataclass(output := classes.pop()):
        return ()
    return tuple(field.name for field in fields(output))


def _made(cls: Any, given: Mapping[str, Any], parameters: Parameters) -> list[str]:
    """The kinds of artifacts that a call makes, the main one first; none where they are not
    known."""
    names = output_fields(cls)
    kind = next((kind for name, kind in _FIELDS.items() if name in names), None)
    if kind is None:
        return []
    kinds = [kind]
    if kind == "video" and _value("num_frames", given, parameters) == 1:
        kinds.append("image")  # a video of one frame is written as an image, too
    if kind == "video" and not set(_SOUND).isdisjoint(names):
        kinds.append("audio")
    return kinds


def _returned(function: Any) -> list[str]:
    annotation = inspect.signature(function, eval_str=True).return_annotation
    if get_origin(annotation) in (list, dict):
        annotation = get_args(annotation)[-1]
    return _ANNOTATIONS.get(get_origin(annotation) or annotation, [])


def _check_kind(title: str, kinds: Sequence[str], result: Result, path: JsonPath) -> Diagnostics:
    types = [each for kind in kinds for each in _HOLD[kind]]
    if not kinds or result.content_type.startswith(tuple(types)):
        return
    if result.content_type == "application/json" and "image" not in kinds:
        return  # arrays are lists in JSON
    main = kinds[0]
    thing = main if main in ("audio", "text") else f"{main}s"
    message = f"{result.content_type} cannot hold the {thing} that {title} makes"
    yield DataDiagnostic((*path, "result", "content_type"), f"{message}; {_BEST[main]} can")


def _check_size(
    given: Mapping[str, Any], parameters: Parameters, result: Result, path: JsonPath
) -> Diagnostics:
    size = asked_size(given, parameters)
    where = (*path, "result", "content_type")
    if size is not None and (message := side_error(*size, result.content_type)):
        yield DataDiagnostic(where, message)
        return
    for message in foreseen(result, size):
        yield DataDiagnostic(where, message, "warning")


def _value(name: str, given: Mapping[str, Any], parameters: Parameters) -> Any:
    """The value of an argument, or its default."""
    if name in given:
        return given[name]
    parameter = parameters.get(name)
    return None if parameter is None or parameter.default is Parameter.empty else parameter.default
