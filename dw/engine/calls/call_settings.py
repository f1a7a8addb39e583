"""Call settings: what a configuration sets on models for its calls, such as tiling, memory formats,
attention processors and backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from dw.engine.models.model_state import Change, Layer
from dw.engine.patches import progress_bars
from dw.engine.python import resolve
from dw.errors import RunFailed, did_you_mean, told
from dw.workflow.format.configuration import Configuration


def setting_changes(configuration: Configuration, models: Mapping[str, Any]) -> Iterator[Change]:
    """`models`: of the pipeline, by the name of their component. Warns of a setting that a model
    does not have. Raises RunFailed for an unknown module."""
    for path, settings in _wanted(configuration, models).items():
        component, _, inside = path.partition(".")
        module = _find(models[component], inside)
        for name, value in settings.items():
            layer, method, apply = _SETTINGS[name]
            if not hasattr(module, method):
                progress_bars.warn(f"{type(module).__name__} has no {method}: it does nothing")
                continue
            put = partial(_apply, path=path, value=value, apply=apply)
            yield Change(layer, name, (inside, value), frozenset({component}), put)


def _wanted(configuration: Configuration, models: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of the pipeline's components and of modules in them, by path."""
    found: dict[str, dict[str, Any]] = {}
    if slices_attention(configuration, models):
        sliced = (name for name, m in models.items() if hasattr(m, "set_attention_slice"))
        found = {name: {"attention_slicing": True} for name in sliced}
    if configuration.freeu is not None:
        found.setdefault("unet", {})["freeu"] = configuration.freeu.model_dump()
    for name, block in configuration.settings.items():
        found.setdefault(name, {}).update(block.switches)
    for name, entry in configuration.components.items():
        given = {"enable_tiling": entry.enable_tiling, "attention_backend": entry.attention_backend}
        found.setdefault(name, {}).update({n: v for n, v in given.items() if v})
    return {path: each for path, each in found.items() if path.partition(".")[0] in models}


def slices_attention(configuration: Configuration, models: Mapping[str, Any]) -> bool:
    """Slicing is on by default on MPS, whose memory is small."""
    if configuration.enable_attention_slicing or configuration.disable_attention_slicing:
        return configuration.enable_attention_slicing
    weights = (next(model.parameters(), None) for model in models.values())
    return any(weight is not None and weight.device.type == "mps" for weight in weights)


def _find(model: torch.nn.Module, path: str) -> torch.nn.Module:
    try:
        return model.get_submodule(path)
    except AttributeError:
        known = [inner for inner, _ in model.named_modules()]
        raise RunFailed(
            f"{type(model).__name__} has no module {path!r}{did_you_mean(path, known)}"
        ) from None


Apply = Callable[[Any, Any], None]
"""Gives a module the value of a setting. Raises RunFailed for a wrong one."""


def _apply(pipeline: Any, *, path: str, value: Any, apply: Apply) -> None:
    component, _, inside = path.partition(".")
    apply(getattr(pipeline, component).get_submodule(inside), value)


def _method(name: str) -> Apply:
    def apply(module: Any, value: Any) -> None:
        try:
            getattr(module, name)(**(value if isinstance(value, dict) else {}))
        except TypeError as error:
            raise RunFailed(f"{type(module).__name__}.{name}: {told(error)}") from error

    return apply


def _attention_slicing(module: Any, _: Any) -> None:
    """Slices all attention but that of an IP-Adapter, whose processors would be replaced."""
    processors = getattr(module, "attn_processors", {})
    kept = {name: each for name, each in processors.items() if "IPAdapter" in type(each).__name__}
    module.set_attention_slice("auto")
    if kept:
        module.set_attn_processor({**module.attn_processors, **kept})


def _channels_last(module: Any, _: Any) -> None:
    module.to(memory_format=torch.channels_last)


def _attn_processor(module: Any, value: str) -> None:
    module.set_attn_processor(resolve.attention_processor(value)())


def _attention_backend(module: Any, value: str) -> None:
    """diffusers also makes the backend that of all models; this is undone at once."""
    active = _AttentionBackendRegistry._active_backend
    try:
        module.set_attention_backend(value)
    except (ValueError, ImportError, RuntimeError) as error:
        raise RunFailed(f"attention_backend {value!r}: {told(error)}") from error
    finally:
        _AttentionBackendRegistry.set_active_backend(active)


_SETTINGS: dict[str, tuple[Layer, str, Apply]] = {
    "attn_processor_type": (Layer.PROCESSOR, "set_attn_processor", _attn_processor),
    "enable_slicing": (Layer.SETTING, "enable_slicing", _method("enable_slicing")),
    "enable_tiling": (Layer.SETTING, "enable_tiling", _method("enable_tiling")),
    "enable_forward_chunking": (
        Layer.SETTING,
        "enable_forward_chunking",
        _method("enable_forward_chunking"),
    ),
    "freeu": (Layer.SETTING, "enable_freeu", _method("enable_freeu")),
    "channels_last": (Layer.SETTING, "to", _channels_last),
    "attention_slicing": (Layer.ATTENTION, "set_attention_slice", _attention_slicing),
    "attention_backend": (Layer.ATTENTION, "set_attention_backend", _attention_backend),
}
"""Each setting: its layer, the method that a module with it has, and how it is set."""
