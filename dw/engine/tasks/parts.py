"""Parts: the models of a task, as it declares them. dw.engine.models.task_models makes load specs
of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class TaskPart:
    """One model of a task, or the processor beside it, and where it comes from."""

    cls: Any  # with from_pretrained, or from_single_file when it is read from `files`
    source: str | None  # a hub id or a folder; with `files` also a file; None: it has no weights
    stand_in: str | type  # the tiny model, or the class, that takes its place in a rehearsal
    files: tuple[str | None, ...] = ()  # what is needed of the source; none: what loaders read
    has_weights: bool = True
    is_large: bool = False  # in half precision on a GPU
    options: tuple[tuple[str, Any], ...] = ()  # further arguments of the loader
    remote_code: bool = False  # its Python comes from the hub as well


TaskParts = Mapping[str, TaskPart]
