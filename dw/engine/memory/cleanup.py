"""Cleanup: what is in memory, how it is freed, and how models recover after a bad end."""

from __future__ import annotations

import gc
import sys
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from diffusers import DiffusionPipeline

from dw.engine.calls.calling import free_hooks
from dw.engine.device import Device
from dw.engine.models.cache import CachedComponent, ComponentCache
from dw.engine.models.live_models import LiveModels, tensors
from dw.engine.models.model_state import ModelState
from dw.types import ComponentRow, Memory


@dataclass(frozen=True, slots=True)
class ClearReport:
    """`survivors` name components that are still alive and the types of what refers to them."""

    freed: int  # bytes
    survivors: tuple[str, ...]


def report(device: Device, cache: ComponentCache, runs: int) -> Memory:
    memory = device.memory()
    return Memory(
        device=device.name,
        allocated=memory.allocated,
        reserved=memory.reserved,
        free=memory.free,
        total=memory.total,
        runs=runs,
        components=tuple(_row(component) for component in cache.components()),
    )


def free(device: Device, cache: ComponentCache, live_models: LiveModels) -> ClearReport:
    """Drop every component and name what is still alive afterwards."""
    before = device.memory().allocated
    cache.clear()
    _forget_exceptions()
    gc.collect()
    device.empty_cache()
    living = live_models.living()
    own = {id(living), *map(id, living)}
    survivors = tuple(f"{entry[0]} (held by {_holders(entry[1], own)})" for entry in living)
    return ClearReport(max(0, before - device.memory().allocated), survivors)


def recover(pipeline: DiffusionPipeline | None, cache: ComponentCache, device: Device) -> None:
    """Put models back as they were loaded, and free everything else, after an error, a cancel or
    an out-of-memory.

    Must be called outside the `except` block, whose exception holds the frames and their tensors.
    """
    _forget_exceptions()
    if pipeline is not None:
        try:
            free_hooks(pipeline)
        except (RuntimeError, MemoryError):
            cache.clear()  # no room for that either: what is half moved must be loaded again
    for component in cache.components():
        if not _is_restored(component.state):
            cache.forget(component)
    gc.collect()
    device.empty_cache()


def _is_restored(state: ModelState) -> bool:
    """Whether the model is as it was loaded, which is impossible when its weights are lost."""
    try:
        return state.rewind(0)
    except (RuntimeError, MemoryError):
        return False  # no room for that either


def _row(component: CachedComponent) -> ComponentRow:
    dtypes = sorted(str(d).removeprefix("torch.") for d in component.dtypes)
    placement = component.spec.placement
    device = "cpu"  # where it is between calls
    if placement is not None and placement.offload is None:
        first = next(tensors(component.value), None)
        device = placement.device if first is None else str(first.device)
    return ComponentRow(
        name=component.label,
        class_name=type(component.value).__name__,
        dtype="+".join(dtypes) or "-",
        device=device,
        nbytes=component.nbytes,
        last_used=component.last_used,
    )


def _holders(model: Any, own: Collection[int]) -> str:
    """The types of the objects that refer to `model`, except those whose ids are in `own`."""
    referrers = [
        r for r in gc.get_referrers(model) if id(r) not in own and r is not sys._getframe()
    ]
    kinds = {type(_owner(r)).__name__ for r in referrers}
    return ", ".join(sorted(kinds)) or "native code"


def _owner(holder: Any) -> Any:
    """The object whose attributes a dict holds, or the holder itself."""
    if isinstance(holder, dict):
        return next(
            (o for o in gc.get_referrers(holder) if getattr(o, "__dict__", None) is holder), holder
        )
    return holder


def _forget_exceptions() -> None:
    """The interpreter keeps the last uncaught exception, whose frames hold tensors."""
    for name in ("last_exc", "last_type", "last_value", "last_traceback"):
        if hasattr(sys, name):
            delattr(sys, name)
