"""Live models: weak references to every model that was loaded, to find those that are still alive
and how many bytes they hold."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import torch
from torch.utils._python_dispatch import is_traceable_wrapper_subclass


class LiveModels:
    """Keeps nothing alive. Read from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: list[tuple[str, weakref.ref[Any]]] = []

    def add(self, name: str, component: Any) -> None:
        if not any(modules(component)):
            return
        with self._lock:
            self._models = [(n, r) for n, r in self._models if r() is not None]
            self._models.append((name, weakref.ref(component)))

    def living(self) -> list[tuple[str, Any]]:
        """Name and model of each that something still refers to."""
        with self._lock:
            models = list(self._models)
        return [(name, model) for name, ref in models if (model := ref()) is not None]

    def live_bytes(self) -> int:
        """Bytes of all living parameters and buffers in host memory."""
        while True:
            try:
                found = [t for _, model in self.living() for t in tensors(model)]
                return tensor_bytes(found, device="cpu")
            except RuntimeError:
                continue  # another thread added a LoRA to a model: count again


def modules(component: Any) -> Iterator[torch.nn.Module]:
    """A model itself, or the models of a pipeline of diffusers or transformers."""
    if isinstance(component, torch.nn.Module):
        yield component
    elif isinstance(parts := getattr(component, "components", None), Mapping):
        for part in parts.values():
            yield from modules(part)
    elif isinstance(model := getattr(component, "model", None), torch.nn.Module):
        yield model


def tensors(component: Any) -> Iterator[torch.Tensor]:
    """The parameters and buffers of a model, or of all models of a pipeline."""
    for module in modules(component):
        for tensor in chain(module.parameters(), module.buffers()):
            yield from _plain(tensor)


def _plain(tensor: torch.Tensor) -> Iterator[torch.Tensor]:
    """The tensors that hold the bytes: a quantized one consists of others."""
    if not is_traceable_wrapper_subclass(tensor):
        yield tensor
        return
    for name in tensor.__tensor_flatten__()[0]:
        yield from _plain(getattr(tensor, name))


def tensor_bytes(found: Iterable[torch.Tensor], *, device: str | None = None) -> int:
    """Bytes of the tensors, each storage counted once; only those on a device of type `device`,
    if given."""
    storages = {}
    for tensor in found:
        if not tensor.is_meta and device in (None, tensor.device.type):
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def base_dtypes(component: Any) -> frozenset[torch.dtype]:
    """The dtypes of a model's own parameters; those of LoRAs on it do not count."""
    if not isinstance(component, torch.nn.Module):
        return frozenset()
    return frozenset(p.dtype for name, p in component.named_parameters() if ".lora_" not in name)
