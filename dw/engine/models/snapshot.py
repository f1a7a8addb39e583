"""Snapshots: a model as it is at one moment, to find whatever was changed on it and to undo that.

A snapshot holds the very objects that its modules consist of (submodules, parameters, attention
processors, hooks, plain attributes) and the layout of each weight. It does not hold the numbers in
the weights: diffusers replaces modules and converts weights, it does not calculate in place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain
from operator import attrgetter, is_
from typing import Any

import torch

CONTAINERS = (dict, OrderedDict, list, set)
"""What may be changed inside while the attribute stays the same object. A config is a subclass."""

PARTS = ("processor", "_diffusers_hook", "_internal_dict", "config", "generation_config")
"""The attributes of a module whose own attributes belong to it as well."""

HOOKS = ("forward", "_old_forward", "_hf_hook", "_diffusers_hook")
"""Where diffusers and accelerate keep hooks."""


KIND = attrgetter("dtype", "requires_grad")
"""Of a weight."""


class Snapshot:
    """`hooks` False leaves hooks out: those of an offload change themselves in the first call."""

    def __init__(self, model: Any, *, hooks: bool = True) -> None:
        self._ignored = () if hooks else HOOKS
        # Side by side: to compare two lists as a whole takes a sixth of the time.
        self._held: list[dict[str, Any]] = []
        self._saved: list[dict[str, Any]] = []
        self._contents: list[tuple[Any, Any]] = []  # of containers
        self._empty: list[Any] = []  # containers
        modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
        for owner in {id(owner): owner for owner in self._owners(modules)}.values():
            self._take(vars(owner))
        self._dicts = [held for held, _ in self._contents if isinstance(held, dict)]
        self._names = list(map(list, self._dicts))
        self._values = list(_values(self._dicts))
        self._others = [pair for pair in self._contents if not isinstance(pair[0], dict)]
        weights = (w for m in modules for w in (*m._parameters.values(), *m._buffers.values()))
        self._weights = list(dict.fromkeys(weight for weight in weights if weight is not None))
        self._kinds = list(map(KIND, self._weights))
        self._layouts = [(weight.device, _strides(weight)) for weight in self._weights]

    def _owners(self, modules: Iterable[torch.nn.Module]) -> Iterator[Any]:
        for module in modules:
            yield module
            held = vars(module)
            for name in PARTS:
                if name not in self._ignored and hasattr(part := held.get(name), "__dict__"):
                    yield part

    def _take(self, held: dict[str, Any]) -> None:
        saved = {name: value for name, value in held.items() if name not in self._ignored}
        self._held.append(held)
        self._saved.append(saved)
        for value in saved.values():
            if type(value) not in CONTAINERS:
                continue
            if value:
                self._contents.append((value, value.copy()))
            else:
                self._empty.append(value)

    def is_current(self) -> bool:
        """Whether the model is still like this, except for the device and the strides of its
        weights."""
        return (
            not any(self._empty)
            and list(map(KIND, self._weights)) == self._kinds
            and list(map(list, self._dicts)) == self._names
            and all(map(is_, _values(self._dicts), self._values))
            and all(_is_same(container, saved) for container, saved in self._others)
            and self._has_attributes()
        )

    def _has_attributes(self) -> bool:
        """Their order means nothing: one that was removed and set again is the last. An equal
        value in place of another is the same one, as long as it is equal."""
        held = self._held
        if self._ignored:
            held = [self._without_hooks(each) for each in held]
        try:
            return held == self._saved
        except (RuntimeError, ValueError):
            return False  # of an array in the place of something: it is not simply equal or not

    def _without_hooks(self, held: dict[str, Any]) -> dict[str, Any]:
        if held.keys().isdisjoint(self._ignored):
            return held
        return {name: value for name, value in held.items() if name not in self._ignored}

    def restore(self) -> bool:
        """Make the model like this again. False when that is impossible, because the numbers of
        its weights are lost: the model must be loaded again."""
        for held, saved in zip(self._held, self._saved, strict=True):
            for name in held.keys() - saved.keys() - set(self._ignored):
                del held[name]
            held.update(saved)
        for container in self._empty:
            container.clear()
        for container, saved in self._contents:
            _refill(container, saved)
        weights = list(zip(self._weights, self._kinds, self._layouts, strict=True))
        restored = [_put_back(weight, dtype, *layout) for weight, (dtype, _), layout in weights]
        for weight, (_, has_gradient), _ in weights:
            # Kernels are chosen by it, even where no gradient is computed; peft changes it.
            if weight.requires_grad is not has_gradient:
                with torch.inference_mode(weight.is_inference()):
                    weight.requires_grad_(has_gradient)
        return all(restored)


def _values(dicts: Iterable[dict[Any, Any]]) -> Iterator[Any]:
    return chain.from_iterable(map(dict.values, dicts))


def _is_same(container: Any, saved: Any) -> bool:
    """Whether a container holds the very objects that it did, in their order."""
    if len(container) != len(saved):
        return False
    if isinstance(container, dict):
        return list(container) == list(saved) and all(map(is_, container.values(), saved.values()))
    return all(map(is_, container, saved)) if isinstance(container, list) else container == saved


def _refill(container: Any, saved: Any) -> None:
    container.clear()
    (container.extend if isinstance(container, list) else container.update)(saved)


def _strides(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """None for tensors that consist of others, as quantized ones do: they cannot be converted."""
    return tensor.stride() if type(tensor) in (torch.Tensor, torch.nn.Parameter) else None


def _put_back(
    tensor: torch.Tensor,
    dtype: torch.dtype,
    device: torch.device,
    strides: tuple[int, ...] | None,
) -> bool:
    """Convert a weight back. False when that does not give the same bits."""
    is_here = tensor.dtype == dtype and tensor.device == device
    if is_here and (strides is None or tensor.stride() == strides):
        return True
    if strides is None or tensor.is_meta or not holds(tensor.dtype, dtype):
        return False
    with torch.inference_mode(tensor.is_inference()):  # one that was cast in a call belongs to it
        data = tensor.data.to(device=device, dtype=dtype)
        if data.stride() != strides:
            # Not `contiguous`: layers of size 1 have several strides that count as contiguous, and
            # kernels are chosen by them.
            data = torch.empty_strided(data.shape, strides, dtype=dtype, device=device).copy_(data)
        tensor.data = data
    return True


def holds(wide: torch.dtype, narrow: torch.dtype) -> bool:
    """Whether every number of the dtype `narrow` is one of `wide`."""
    if wide == narrow:
        return True
    if not (wide.is_floating_point and narrow.is_floating_point):
        return False
    a, b = torch.finfo(wide), torch.finfo(narrow)
    return a.eps <= b.eps and a.max >= b.max and a.smallest_normal <= b.smallest_normal
