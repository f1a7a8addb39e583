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
from dw.workflow.checks.classes import diffusers_names
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
            yield DataDiagnostic(
                where, f"{name!r} cannot be given: it is made of the seed{_SEED}", at_key=True
            )
        elif name not in parameters:
            if message := _unknown(cls, name, parameters, function):
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


_SEED = ", which goes beside 'arguments': \"seed\": 7"
_ELSEWHERE = {
    "seed": _SEED,
    "fps": "; it goes into 'result': \"fps\": 8",
    **dict.fromkeys(
        ("sampler", "sampler_name", "scheduler"),
        '; beside \'arguments\' goes "scheduler": {"configuration": {"scheduler_type": ...}}',
    ),
}
"""Arguments that people look for among those of a call, and where they belong."""

_OTHER_NAMES = {
    **dict.fromkeys(
        ("batch_size", "batch_count", "n", "n_iter", "num_images", "num_samples"),
        ("num_images_per_prompt", "num_videos_per_prompt", "num_waveforms_per_prompt"),
    ),
    **dict.fromkeys(("steps", "sampling_steps"), ("num_inference_steps",)),
    **dict.fromkeys(("cfg", "cfg_scale", "scale"), ("guidance_scale", "true_cfg_scale")),
    **dict.fromkeys(("denoise", "denoising_strength"), ("strength",)),
    **dict.fromkeys(("negative", "neg_prompt"), ("negative_prompt",)),
    "init_image": ("image",),
    "mask": ("mask_image",),
    "frames": ("num_frames",),
    "length": ("num_frames",),
}
"""Names of arguments in other programs, and those of diffusers."""

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
    cls: Any, name: str, parameters: Mapping[str, Parameter], function: Callable[..., Any]
) -> str | None:
    """The error for an argument that the call does not take, with what to write instead."""
    meant = next((each for each in _OTHER_NAMES.get(name, ()) if each in parameters), None)
    hint = f" (did you mean {meant!r}?)" if meant else _ELSEWHERE.get(name) or _relatives(cls, name)
    message = unknown_argument(cls.__name__, name, parameters, function)
    return f"{cls.__name__} takes no argument {name!r}{hint}" if message and hint else message


def _relatives(cls: Any, name: str) -> str:
    """The pipelines for other tasks on the same models that take the argument, as the end of a
    sentence."""
    stem = cls.__name__.removesuffix("Pipeline")
    others = [f"{stem}{task}Pipeline" for task in _TASKS]
    found = [
        other
        for other in others
        if other in diffusers_names() and name in call_parameters(getattr(diffusers, other))
    ]
    return f"; {' and '.join(found)} {'take' if len(found) > 1 else 'takes'} it" if found else ""


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
