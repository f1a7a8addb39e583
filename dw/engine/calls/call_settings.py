"""Call settings: what is set on models for a call and can be put back, such as tiling, slicing,
memory formats and attention.

The models are shared by every pipeline, so the settings of the last call are still there; those
that the next call does not want are put back first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol
from weakref import WeakKeyDictionary

import torch
from diffusers import DiffusionPipeline
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from dw.engine.patches import progress_bars
from dw.engine.python import resolve
from dw.errors import RunFailed, did_you_mean, told
from dw.workflow.format.configuration import Configuration

Wanted = Mapping[str, Any]
"""The settings of one module: name to value."""

Undo = Callable[[Any], None]
"""Puts a module back as it was. Holds no reference to a module, which would keep it alive."""


class CallSetting(Protocol):
    def __call__(self, module: Any, value: Any, /) -> Undo: ...


class CallSettings:
    """Gives models the settings that they should have."""

    def __init__(self) -> None:
        self._set: WeakKeyDictionary[torch.nn.Module, tuple[Wanted, list[Undo]]]
        self._set = WeakKeyDictionary()

    def reconcile(self, pipeline: DiffusionPipeline, configuration: Configuration) -> None:
        """Raises RunFailed for an unknown module and for a setting with a wrong value."""
        wanted = wanted_settings(pipeline, configuration)
        modules = [inner for model in _models(pipeline) for inner in model.modules()]
        for module in modules if self._set else ():
            if module in self._set and self._set[module][0] != wanted.get(module, {}):
                self._put_back(module)
        for module, settings in wanted.items():
            if settings and module not in self._set:
                undone: list[Undo] = []
                self._set[module] = settings, undone  # first: one that fails leaves some to undo
                for name, value in settings.items():
                    undone.append(_SETTINGS[name](module, value))

    def put_back(self) -> None:
        """Put every module back as it was loaded."""
        for module in list(self._set):
            self._put_back(module)

    def _put_back(self, module: torch.nn.Module) -> None:
        _, undone = self._set.pop(module)
        for undo in reversed(undone):
            undo(module)


def wanted_settings(
    pipeline: DiffusionPipeline, configuration: Configuration
) -> dict[torch.nn.Module, dict[str, Any]]:
    wanted: dict[torch.nn.Module, dict[str, Any]] = {}
    if slices_attention(pipeline, configuration):
        sliced = (m for m in _models(pipeline) if hasattr(m, "set_attention_slice"))
        wanted = {module: {"attention_slicing": True} for module in sliced}
    named = {name: block.switches for name, block in configuration.settings.items()}
    for name, entry in configuration.components.items():
        given = {"enable_tiling": entry.enable_tiling, "attention_backend": entry.attention_backend}
        named[name] = named.get(name, {}) | {n: v for n, v in given.items() if v}
    for name, settings in named.items():
        if settings and (module := _find(pipeline, name)) is not None:
            wanted.setdefault(module, {}).update(settings)
    return wanted


def slices_attention(pipeline: DiffusionPipeline, configuration: Configuration) -> bool:
    """Slicing is on by default on MPS, whose memory is small."""
    if configuration.enable_attention_slicing or configuration.disable_attention_slicing:
        return configuration.enable_attention_slicing
    return torch.backends.mps.is_available() and pipeline.device.type == "mps"


def _find(pipeline: DiffusionPipeline, name: str) -> torch.nn.Module | None:
    """The module at a dotted path; None when the pipeline runs without that component."""
    component, _, path = name.partition(".")
    module = pipeline.components.get(component)
    if not isinstance(module, torch.nn.Module):
        return None
    try:
        return module.get_submodule(path)
    except AttributeError:
        known = [inner for inner, _ in module.named_modules()]
        raise RunFailed(
            f"{type(module).__name__} has no module {path!r}{did_you_mean(path, known)}"
        ) from None


def _models(pipeline: DiffusionPipeline) -> list[torch.nn.Module]:
    return [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]


def _method(name: str) -> CallSetting:
    """A method that only sets plain attributes of its model; these are put back."""

    def apply(module: Any, value: Any) -> Undo:
        if not hasattr(module, name):
            return _nothing(module, name)
        before = dict(vars(module))
        try:
            getattr(module, name)(**(value if isinstance(value, dict) else {}))
        except TypeError as error:
            raise RunFailed(f"{type(module).__name__}.{name}: {told(error)}") from error
        changed = {n: v for n, v in before.items() if vars(module)[n] is not v}
        return lambda module: module.__dict__.update(changed)

    return apply


def _nothing(module: Any, name: str) -> Undo:
    progress_bars.warn(f"{type(module).__name__} has no {name}: it does nothing")
    return lambda _: None


def _attention_slicing(module: Any, _: Any) -> Undo:
    processors = dict(getattr(module, "attn_processors", {}))
    module.set_attention_slice("auto")

    def undo(module: Any) -> None:
        module.set_attention_slice(None)
        if processors:
            module.set_attn_processor(dict(processors))

    return undo


def _channels_last(module: Any, _: Any) -> Undo:
    module.to(memory_format=torch.channels_last)
    return lambda module: module.to(memory_format=torch.contiguous_format)


def _forward_chunking(module: Any, _: Any) -> Undo:
    if not hasattr(module, "enable_forward_chunking"):
        return _nothing(module, "enable_forward_chunking")
    module.enable_forward_chunking()

    def undo(module: Any) -> None:
        for inner in module.modules():
            if hasattr(inner, "set_chunk_feed_forward"):
                inner.set_chunk_feed_forward(None, dim=0)  # some take it by name alone

    return undo


def _attn_processor(module: Any, value: str) -> Undo:
    if not hasattr(module, "set_attn_processor"):
        return _nothing(module, "set_attn_processor")
    processors = dict(module.attn_processors)
    module.set_attn_processor(resolve.attention_processor(value)())
    return lambda module: module.set_attn_processor(dict(processors))


def _attention_backend(module: Any, value: str) -> Undo:
    """diffusers also makes the backend that of all models; this is undone at once."""
    if not hasattr(module, "set_attention_backend"):
        return _nothing(module, "set_attention_backend")
    active = _AttentionBackendRegistry._active_backend
    try:
        module.set_attention_backend(value)
    except (ValueError, ImportError, RuntimeError) as error:
        raise RunFailed(f"attention_backend {value!r}: {told(error)}") from error
    finally:
        _AttentionBackendRegistry.set_active_backend(active)
    return lambda module: module.reset_attention_backend()


_SETTINGS: dict[str, CallSetting] = {
    "attention_slicing": _attention_slicing,
    "enable_slicing": _method("enable_slicing"),
    "enable_tiling": _method("enable_tiling"),
    "channels_last": _channels_last,
    "enable_forward_chunking": _forward_chunking,
    "attn_processor_type": _attn_processor,
    "attention_backend": _attention_backend,
}
