"""Brief reports: one line for a run, in sweeps, in `watch`, and with `config report=brief`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dw.events import Finished
from dw.short_text import in_one_line


@dataclass(frozen=True, slots=True)
class Brief:
    """`differs`: what this run was given otherwise. `position`: as in `3/18`."""

    differs: str = ""
    position: str = ""

    def line(self, finished: Finished, seconds: float) -> str:
        """`3/18  0009  0.6 s  seed 7  steps=20`: its number, seconds, seed and what differs."""
        early = "stopped early" if finished.stopped_early else ""
        parts = (
            self.position,
            Path(finished.output_dir).name,
            f"{seconds:.1f} s",
            f"seed {finished.seed}",
            in_one_line(self.differs),
            early,
        )
        return "  ".join(part for part in parts if part)
