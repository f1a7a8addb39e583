"""Calls: one call of a pipeline, seeded, watched for a cancel, its tensors moved to the host."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from inspect import Parameter
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline
from diffusers.utils import BaseOutput

from dw.engine.calls.acceleration import accelerated
from dw.engine.calls.clip_skip import skipping
from dw.engine.calls.finite import spoiled, watching_values
from dw.engine.calls.gradients import without_gradients
from dw.engine.calls.latent_dtype import any_dtype
from dw.engine.calls.watching import watching
from dw.engine.calls.weighting import weighted
from dw.engine.cancellation import RunControl
from dw.engine.files.artifacts import on_host
from dw.engine.media.video import plain
from dw.engine.python import resolve
from dw.engine.python.annotations import takes_tuple
from dw.engine.python.signatures import call_parameters
from dw.types import Spoiled
from dw.workflow.format.configuration import Configuration

INVERTED = ("inverted_latents", "image_latents", "latent_image_ids")
"""What pipelines return that invert an image."""


def call(
    pipeline: Any,
    arguments: Mapping[str, Any],
    control: RunControl,
    *,
    configuration: Configuration,
    warn: Callable[[str], None],
    tell: Callable[[Spoiled], None],
) -> Any:
    """The output of the pipeline, or of the method that the configuration names. Raises Cancelled,
    and whatever the pipeline raises, and `tell`, which is called with a value that is not
    finite."""
    control.stepped(0, 0)
    rate, method = _sample_rate(pipeline), method_of(configuration)
    with (
        without_gradients([pipeline]),
        watching(pipeline, control),
        watching_values(pipeline, control, tell),
        any_dtype(pipeline),
        accelerated(pipeline, configuration, arguments, warn),
        skipping(pipeline, arguments.get("clip_skip", call_default(pipeline, "clip_skip"))),
    ):
        if configuration.prompt_weighting:
            arguments = weighted(pipeline, arguments)
        given = {name: plain(value, rate) for name, value in arguments.items()}
        given |= _tuples(_parameters(pipeline, method), given)
        for name in filter(lambda name: spoiled(given[name]), given):
            tell(Spoiled(f"the argument {name!r}"))
        output = _named(getattr(pipeline, method)(**given), method)
    if resolve.is_modular(type(pipeline)):
        from dw.engine.models import modular  # what it imports is needed by few workflows

        modular.free_hooks(pipeline)
        output = modular.outputs(pipeline, output)
    fps = arguments.get("frame_rate") or call_default(pipeline, "frame_rate")
    return _with_rates(on_host(output), rate, fps)


def _with_rates(output: Any, rate: int | None, fps: float | None) -> Any:
    """The output with the sample rate of its audio, where it has none yet, and the frame rate of
    the video around it."""
    if isinstance(output, Mapping) and not isinstance(output, BaseOutput):
        is_rated = "audio" not in output or "sampling_rate" in output
        return output if is_rated else {**output, "sampling_rate": rate}
    if any(hasattr(output, name) for name in ("audio", "audios", "sound")):
        output.audio_sample_rate, output.frame_rate = rate, fps
    return output


def _sample_rate(pipeline: DiffusionPipeline) -> int | None:
    """Of the audio that a pipeline makes, in Hz, if one of its components has it."""
    for component in ("vocoder", "vae", "audio_vae", "sound_tokenizer"):
        config = getattr(getattr(pipeline, component, None), "config", None)
        for name in ("output_sampling_rate", "sampling_rate", "sample_rate"):
            if isinstance(rate := getattr(config, name, None), int):
                return rate
    return None


def method_of(configuration: Configuration) -> str:
    """The method of the pipeline that is called."""
    if configuration.inversion:
        return "invert"
    return "generate" if configuration.generate else "__call__"


def _named(output: Any, method: str) -> Any:
    """The output of a call; that of another method under the names of its values."""
    if method == "generate":
        return {"generated_ids": output}
    return dict(zip(INVERTED, output, strict=False)) if type(output) is tuple else output


def takes_generator(pipeline: Any, method: str) -> bool:
    """Whether the method takes the step's own generator; others draw from the global ones."""
    if method != "__call__" or resolve.is_from_transformers(type(pipeline)):
        return False
    if resolve.is_modular(type(pipeline)):
        return "generator" in pipeline._blocks.input_names
    return "generator" in call_parameters(pipeline.__class__)


def call_default(pipeline: Any, name: str) -> Any:
    """Of an argument of the call; None when it has no default or does not exist."""
    parameter = _parameters(pipeline).get(name)
    return None if parameter is None or parameter.default is parameter.empty else parameter.default


def _parameters(pipeline: Any, method: str = "__call__") -> Mapping[str, Parameter]:
    if resolve.is_modular(type(pipeline)):
        from dw.engine.models import modular

        return modular.call_parameters(pipeline._blocks)
    return call_parameters(pipeline.__class__, method)


def _tuples(
    parameters: Mapping[str, Parameter], arguments: Mapping[str, Any]
) -> dict[str, tuple[Any, ...]]:
    """The lists among the arguments that must be tuples, which JSON does not have: pipelines join
    sizes and corners to tuples of their own."""
    return {
        name: tuple(value)
        for name, value in arguments.items()
        if type(value) is list and name in parameters and takes_tuple(parameters[name].annotation)
    }


def free_hooks(pipeline: Any) -> None:
    """Take offloaded models off the device, and reset step caches, which would change the next
    image."""
    if resolve.is_modular(type(pipeline)):
        from dw.engine.models import modular

        modular.free_hooks(pipeline)
    elif isinstance(pipeline, DiffusionPipeline):  # models of transformers have no such hooks
        pipeline.maybe_free_model_hooks()


def seeded_generator(seed: int) -> torch.Generator:
    """A fresh generator for one step, whose iterations draw from it one after the other.

    On the CPU, which gives the same noise on every device. The global generators are seeded as
    well: some schedulers draw from them.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    return torch.Generator("cpu").manual_seed(seed)
