"""Step caches of diffusers: on for one call, and off after it, however it ends."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from functools import cache as once
from math import inf
from typing import Any

from diffusers import (
    CacheMixin,
    DiffusionPipeline,
    FasterCacheConfig,
    FirstBlockCacheConfig,
    FluxTransformer2DModel,
    LTX2VideoTransformer3DModel,
    MagCacheConfig,
    NucleusMoEImageTransformer2DModel,
    TaylorSeerCacheConfig,
    TextKVCacheConfig,
)
from diffusers.hooks import mag_cache
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformerBlock
from diffusers.models.transformers.transformer_minimax_h3 import MiniMaxH3TransformerBlock

from dw.engine.calls.denoising import (
    Passes,
    counted,
    denoiser,
    denoising_steps,
    joins_passes,
    tells_passes,
)
from dw.errors import RunFailed
from dw.workflow.format.step_cache import StepCache, presets

CONFIGS: dict[str, Callable[..., Any]] = {
    "first_block": FirstBlockCacheConfig,
    "faster": FasterCacheConfig,
    "mag": MagCacheConfig,
    "taylorseer": TaylorSeerCacheConfig,
    "text_kv": TextKVCacheConfig,
}
PRESETS = {FluxTransformer2DModel: "flux"}
"""The magnitudes of models for which the workflow gives none."""

_RATIOS = re.compile(r"^\[[\d., e+-]+\]$", re.MULTILINE)


def why_unsupported(cls: type, cache: StepCache) -> str | None:
    """Why models of this class cannot have the cache."""
    if not issubclass(cls, CacheMixin):
        return f"{cls.__name__} has no step caches"
    if cache.type == "text_kv" and not issubclass(cls, NucleusMoEImageTransformer2DModel):
        return f"the cache 'text_kv' is for Nucleus-MoE, not for {cls.__name__}"
    if cache.type == "mag" and issubclass(cls, LTX2VideoTransformer3DModel):
        return f"the cache 'mag' would leave out the audio of {cls.__name__}"
    has_ratios = cache.calibrate or cache.mag_ratios is not None or cls in PRESETS
    if cache.type == "mag" and not has_ratios:
        return (
            f"the cache 'mag' needs 'mag_ratios' for {cls.__name__}; a run with "
            "'calibrate': true measures them"
        )
    return None


@contextmanager
def applied(
    pipeline: DiffusionPipeline,
    cache: StepCache,
    arguments: Mapping[str, Any],
    warn: Callable[[str], None],
) -> Iterator[None]:
    """The cache that a workflow asks for, for one call. Afterwards the model, which other
    pipelines share, is as before.

    Raises RunFailed when the model has no such cache.
    """
    register_blocks()
    model: Any = denoiser(pipeline)
    if message := why_unsupported(type(model), cache):
        raise RunFailed(message)
    is_named = not tells_passes(type(pipeline))
    with counted(model, named=is_named) as passes:
        config = CONFIGS[cache.type](**_settings(pipeline, cache, arguments, passes))
        with _enabled(model, config, cache.type), _calibration(cache, warn):
            yield


@contextmanager
def _enabled(model: Any, config: Any, name: str) -> Iterator[None]:
    try:
        model.enable_cache(config)
    except ValueError as error:
        model._cache_config = config  # else the blocks that have it already would keep it
        model.disable_cache()
        if "not registered" not in str(error):
            raise
        message = f"the cache {name!r} does not know the blocks of {type(model).__name__}"
        raise RunFailed(message) from error
    try:
        yield
    finally:
        model.disable_cache()


class _WithAudio(TransformerBlockMetadata):  # type: ignore[misc]
    """Blocks whose second result is the audio, not the text embedding."""

    def _get_parameter_from_args_kwargs(
        self, identifier: str, args: Any = (), kwargs: Any = None
    ) -> Any:
        name = "audio_hidden_states" if identifier == "encoder_hidden_states" else identifier
        return super()._get_parameter_from_args_kwargs(name, args, kwargs)


@once
def register_blocks() -> None:
    """Describe to diffusers those of its blocks that it has not registered."""
    TransformerBlockRegistry.register(
        MiniMaxH3TransformerBlock, TransformerBlockMetadata(return_hidden_states_index=0)
    )
    TransformerBlockRegistry.register(
        LTX2VideoTransformerBlock,
        _WithAudio(return_hidden_states_index=0, return_encoder_hidden_states_index=1),
    )


def _settings(
    pipeline: DiffusionPipeline, cache: StepCache, arguments: Mapping[str, Any], passes: Passes
) -> dict[str, Any]:
    """From the workflow, and from the arguments of the call."""
    settings = cache.settings
    if cache.type == "mag":
        settings.setdefault("num_inference_steps", denoising_steps(type(pipeline), arguments))
        if not cache.calibrate:
            given = cache.mag_ratios or PRESETS[type(denoiser(pipeline))]
            settings["mag_ratios"] = (
                getattr(mag_cache, presets()[given]) if isinstance(given, str) else list(given)
            )
    elif cache.type == "faster":
        guidance = arguments.get("guidance_scale", inf)  # a default is above 1 where it matters
        is_joint = joins_passes(type(pipeline)) and guidance > 1
        settings.setdefault("is_guidance_distilled", not is_joint)
        settings["current_timestep_callback"] = _timestep(pipeline, passes)
    return settings


def _timestep(pipeline: DiffusionPipeline, passes: Passes) -> Callable[[], Any]:
    """The timestep, for FasterCache. The cache cannot skip a step before it computed one, nor
    distinguish passes."""
    if not hasattr(type(pipeline), "current_timestep"):
        name = type(pipeline).__name__
        raise RunFailed(f"{name} does not tell its timestep, which the cache 'faster' needs")

    def current() -> Any:
        if passes.current > 0:
            raise RunFailed(
                "the cache 'faster' cannot tell the passes of a step apart",
                hints=["without a negative prompt, and with true_cfg_scale 1, there is one"],
            )
        return inf if passes.steps <= 1 else pipeline.current_timestep

    return current


@contextmanager
def _calibration(cache: StepCache, warn: Callable[[str], None]) -> Iterator[None]:
    """Warn with the ratios that diffusers prints; it gives them in no other way."""
    if not cache.calibrate:
        yield
        return
    with redirect_stdout(io.StringIO()) as printed:
        yield
    for ratios in _RATIOS.findall(printed.getvalue()):
        warn(f'calibrated: "mag_ratios": {ratios}')
