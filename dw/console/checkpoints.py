"""Checkpoints: the folder that a trainer writes them to, as an argument of `watch run`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dw.console.watched_files import Content
from dw.errors import UsageError

_WEIGHTS = "*.safetensors"
_OF_LORA = "pytorch_lora_weights.safetensors"
"""What the trainers of diffusers write into each `checkpoint-500/`."""


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The argument `name` takes each checkpoint in `folder`: a file, or that of a sub-folder."""

    name: str
    folder: Path

    @classmethod
    def among(cls, given: Sequence[tuple[str, Any]]) -> Checkpoints | None:
        """That of the argument whose value ends in `/`. Raises UsageError for several."""
        found = [(n, v) for n, v in given if isinstance(v, str) and v.endswith(("/", os.sep))]
        if len(found) > 1:
            raise UsageError(f"one folder of checkpoints can be watched, got {len(found)}")
        return cls(found[0][0], Path(found[0][1]).expanduser()) if found else None

    def files(self) -> list[Path]:
        """Those that are there, the oldest first."""
        found = [*self.folder.glob(_WEIGHTS)]
        for folder in self.folder.glob("*/"):
            inner = [*folder.glob(_WEIGHTS)]
            found += [each for each in inner if each.name == _OF_LORA] or inner[: len(inner) == 1]
        return sorted(
            filter(os.path.isfile, found), key=lambda path: (os.path.getmtime(path), path)
        )

    def new(self, before: Content, after: Content) -> list[Path]:
        """Those that are new or have other content, the oldest first."""
        return [
            path
            for path in self.files()
            if path.absolute() in after and before.get(path.absolute()) != after[path.absolute()]
        ]

    def title(self, path: Path) -> str:
        """What tells it from the others: `checkpoint-500`."""
        own = path.parent if path.parent != self.folder else path.with_suffix("")
        return own.name
