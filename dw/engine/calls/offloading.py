"""Offloading: the hooks that bring the models of a pipeline to the device when they run. They go on
above the adapters, which they move like all else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from dw.engine.models.cache import CachedComponent
from dw.engine.models.model_state import Change, Layer
from dw.engine.models.offload_hooks import offload
from dw.engine.models.spec import DISK, ComponentSpec, PipelineSpec, Placement
from dw.engine.python import resolve

HOOKED = ("group", "on_demand")
"""The offloads that each component has for itself."""


def offload_changes(
    spec: PipelineSpec, components: Mapping[str, CachedComponent]
) -> Iterator[Change]:
    """All but the hooks of whole models (`model`). Those belong to the pipeline that set them last
    and are cheap, so they are set for each call."""
    if spec.placement.offload == "sequential" and not resolve.is_modular(spec.cls):
        excluded = spec.placement_plan.own.keys()
        models = frozenset(components) - excluded
        put = partial(_offload_layers, device=spec.placement.device, excluded=excluded)
        yield Change(Layer.OFFLOAD, "sequential", None, models, put)
        return
    for name, component in components.items():
        if places := list(_places(component.spec)):
            # What is on disk is not in memory: it cannot be brought back without its hooks.
            is_in_memory = all(DISK not in placement.arguments for _, placement in places)
            put = partial(_offload, model=component.value, name=name, places=places)
            yield Change(Layer.OFFLOAD, "hooks", None, frozenset({name}), put, is_in_memory)


def _places(spec: ComponentSpec) -> Iterator[tuple[str, Placement]]:
    """The modules that are offloaded: their paths in the component, from the outside."""
    if spec.placement is not None and spec.placement.offload in HOOKED:
        yield "", spec.placement
    for change in spec.changes:
        if change.name == "place" and change.arguments["offload"] in HOOKED:
            yield change.path, Placement(**change.arguments)


def _offload(
    pipeline: Any, *, model: Any, name: str, places: Iterable[tuple[str, Placement]]
) -> None:
    for path, placement in places:
        offload(getattr(pipeline, name, model).get_submodule(path), placement)


def _offload_layers(pipeline: Any, *, device: str, excluded: Collection[str]) -> None:
    pipeline._exclude_from_cpu_offload = [*pipeline._exclude_from_cpu_offload, *excluded]
    pipeline.enable_sequential_cpu_offload(device=device)
