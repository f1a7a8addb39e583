"""The commands of task steps: one small function each, registered under its name."""

from dw.engine.tasks import border, codes, edges, film, glue, resize, sound, text, watermark  # noqa: F401  # they register themselves
from dw.engine.tasks.registry import TaskContext, check_task, run_task, task

__all__ = ["TaskContext", "check_task", "run_task", "task"]
