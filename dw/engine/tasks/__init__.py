"""Tasks: the commands of task steps, one small function each, registered under its name."""

from dw.engine.tasks import (  # noqa: F401  # importing one registers its commands
    audio,
    border,
    codes,
    depth,
    detectors,
    faces,
    gather,
    interpolation,
    language,
    masks,
    resize,
    text,
    upscale,
    video,
    watermark,
)
from dw.engine.tasks.registry import (
    TaskContext,
    borrowed_by,
    check_reference,
    check_task,
    models_of,
    require_fit,
    run_task,
    task,
)

__all__ = [
    "TaskContext",
    "borrowed_by",
    "check_reference",
    "check_task",
    "models_of",
    "require_fit",
    "run_task",
    "task",
]
