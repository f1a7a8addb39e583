"""Assembly: a pipeline of cached components, made for one call; its constructor takes 0.2 ms.

Never `from_pipe`, which casts the shared weights in place. Schedulers are made here, afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from diffusers import DiffusionPipeline

from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import realize
from dw.engine.models.schedulers import check_scheduler
from dw.engine.models.spec import PipelineSpec, SchedulerSpec
from dw.engine.python import resolve
from dw.errors import RunFailed
from dw.workflow.format.pipeline import Scheduler


def assemble(
    spec: PipelineSpec,
    parts: Mapping[str, Any],
    schedulers: Mapping[str, SchedulerSpec],
    scalars: Mapping[str, Any],
) -> Any:
    fresh = {name: s.cls.from_config(dict(s.config)) for name, s in schedulers.items()}
    return spec.build({**parts, **fresh}, scalars)


def replace_scheduler(
    pipeline: DiffusionPipeline, name: str, scheduler: Scheduler, access: FileAccess
) -> None:
    """Replace the model's scheduler by the workflow's, made from the model's config. Raises
    RunFailed for one that does not fit the model."""
    own = getattr(pipeline, name)
    cls: Any = type(own)
    if scheduler.scheduler_type is not None:
        cls = resolve.scheduler_class(scheduler.scheduler_type, trust=access.permissions.trust)
    for wrong in check_scheduler(type(own), own.config, scheduler, cls):
        raise RunFailed(wrong.message)
    fresh = cls.from_config(own.config, **realize(scheduler.from_config_args, access=access))
    if scheduler.shift is not None:
        fresh.set_shift(float(scheduler.shift))
    setattr(pipeline, name, fresh)
