"""Assembly: a pipeline of cached components, made for one call; its constructor takes 0.2 ms.

Never `from_pipe`, which casts the shared weights in place. Schedulers are made here, afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from diffusers import DiffusionPipeline

from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import realize
from dw.engine.models.spec import PipelineSpec, SchedulerSpec
from dw.engine.python import resolve
from dw.errors import RunFailed
from dw.workflow.format.pipeline import Scheduler


def assemble(
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
    pipeline: DiffusionPipeline, name: str, scheduler: Scheduler, access: FileAccess
) -> None:
    """Replace the model's scheduler by the workflow's, made from the model's config."""
    own = getattr(pipeline, name)
    cls: Any = type(own)
    if scheduler.scheduler_type is not None:
        cls = resolve.scheduler_class(scheduler.scheduler_type, trust=access.permissions.trust)
    fresh = cls.from_config(own.config, **realize(scheduler.from_config_args, access=access))
    if scheduler.shift is not None:
        if not hasattr(fresh, "set_shift"):
            raise RunFailed(f"{cls.__name__} has no shift to set")
        fresh.set_shift(float(scheduler.shift))
    setattr(pipeline, name, fresh)


def _place(pipeline: Any, spec: PipelineSpec) -> None:
    """Give an offloaded pipeline its hooks. They are on the modules and belong to the pipeline
    that set them last, so they are set for each call; those of whole models are cheap."""
    placement_plan = spec.placement_plan
    device, offload = placement_plan.placement.device, placement_plan.placement.offload
    if resolve.is_modular(spec.cls) or resolve.is_from_transformers(spec.cls):
        return  # it was built with its own hooks, or has none
    if offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    elif offload == "sequential":
        pipeline._exclude_from_cpu_offload = [
            *pipeline._exclude_from_cpu_offload,
            *placement_plan.own,
        ]
        if not _has_sequential_hooks(pipeline):
            pipeline.enable_sequential_cpu_offload(device=device)


def _has_sequential_hooks(pipeline: DiffusionPipeline) -> bool:
    """Hooks of single layers hold their device themselves, and any pipeline can use them."""
    modules = [
        module
        for name, module in pipeline.components.items()
        if isinstance(module, torch.nn.Module) and name not in pipeline._exclude_from_cpu_offload
    ]
    return bool(modules) and all(hasattr(m, "_hf_hook") for m in modules)
