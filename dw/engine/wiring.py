"""A pipeline from cached components, made for one call: its constructor takes 0.2 ms.

Never `from_pipe`, which casts the shared weights in place. Schedulers are made here, afresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakSet

import torch
from diffusers import DiffusionPipeline

from dw.engine import names
from dw.engine.media import realize
from dw.engine.reach import Reach
from dw.engine.spec import PipelineSpec, SchedulerSpec
from dw.errors import RunFailed
from dw.workflow.configuration import Configuration
from dw.workflow.pipeline import Scheduler

_SLICED: WeakSet[torch.nn.Module] = WeakSet()
"""Modules whose attention was sliced for their last call."""


def wire(
    spec: PipelineSpec,
    parts: Mapping[str, Any],
    schedulers: Mapping[str, SchedulerSpec],
    scalars: Mapping[str, Any],
) -> DiffusionPipeline:
    fresh = {name: s.cls.from_config(dict(s.config)) for name, s in schedulers.items()}
    pipeline = spec.build({**parts, **fresh}, scalars)
    _place(pipeline, spec)
    return pipeline


def replace_scheduler(
    pipeline: DiffusionPipeline, name: str, scheduler: Scheduler, reach: Reach
) -> None:
    """Put the workflow's scheduler in the place of the model's, made from the model's config."""
    own = getattr(pipeline, name)
    cls: Any = type(own)
    if scheduler.scheduler_type is not None:
        cls = names.scheduler_class(scheduler.scheduler_type, trust=reach.trust)
    fresh = cls.from_config(own.config, **realize(scheduler.from_config_args, reach=reach))
    if scheduler.shift is not None:
        if not hasattr(fresh, "set_shift"):
            raise RunFailed(f"{cls.__name__} has no shift to set")
        fresh.set_shift(float(scheduler.shift))
    setattr(pipeline, name, fresh)


def set_switches(pipeline: DiffusionPipeline, configuration: Configuration) -> None:
    """The switches that live on shared modules: set for every call, as another pipeline may have
    them otherwise."""
    vae = getattr(pipeline, "vae", None)
    settings = configuration.vae
    if isinstance(vae, torch.nn.Module):
        _switch(vae, "slicing", settings is not None and settings.enable_slicing)
        _switch(vae, "tiling", settings is not None and settings.enable_tiling)
    slices = configuration.enable_attention_slicing
    modules = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    if slices or any(module in _SLICED for module in modules):
        _slice_attention(pipeline, modules, slices)


def _switch(vae: torch.nn.Module, what: str, wanted: bool) -> None:
    is_on = bool(getattr(vae, f"use_{what}", False))
    if wanted != is_on:
        getattr(vae, f"{'enable' if wanted else 'disable'}_{what}")()


def _slice_attention(
    pipeline: DiffusionPipeline, modules: Iterable[torch.nn.Module], wanted: bool
) -> None:
    pipeline.enable_attention_slicing("auto" if wanted else None)
    for module in modules:
        (_SLICED.add if wanted else _SLICED.discard)(module)


def _place(pipeline: Any, spec: PipelineSpec) -> None:
    """Give an offloaded pipeline its hooks. They live on the modules and belong to the pipeline
    that set them last, so they are set for each call; those of whole models are cheap."""
    placement = spec.placement
    if names.is_modular(spec.cls) or names.is_foreign(spec.cls):
        return  # it was built with hooks of its own, or takes none
    if placement.offload == "model":
        pipeline.enable_model_cpu_offload(device=placement.device)
    elif placement.offload == "sequential" and not _has_sequential_hooks(pipeline):
        pipeline.enable_sequential_cpu_offload(device=placement.device)


def _has_sequential_hooks(pipeline: DiffusionPipeline) -> bool:
    """Hooks of single layers name their device themselves, and any pipeline can use them."""
    modules = [m for m in pipeline.components.values() if isinstance(m, torch.nn.Module)]
    return bool(modules) and all(hasattr(m, "_hf_hook") for m in modules)
