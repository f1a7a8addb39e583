"""One run: what all of its steps share, those of sub-workflows too."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from diffusers import DiffusionPipeline

from dw.engine.adapters import Adapters
from dw.engine.cache import ComponentCache, Load
from dw.engine.control import RunControl
from dw.engine.observer import Observer
from dw.engine.planner import Planner
from dw.engine.results import Writer
from dw.report import Output
from dw.workflow import Document, Workflow


@dataclass
class Run:
    document: Document
    workflow: Workflow
    seed: int
    folder: Path
    control: RunControl
    observer: Observer
    planner: Planner
    cache: ComponentCache
    adapters: Adapters
    writer: Writer
    step: str = ""  # what runs or is loaded, as in `refine.gen` or `gen.vae`
    pipeline: DiffusionPipeline | None = None  # the one that was wired last
    outputs: list[Output] = field(default_factory=list)
    timings_s: dict[str, float] = field(default_factory=dict)

    def count(self, phase: str, done: int, total: int) -> None:
        """Every denoising step and every downloaded chunk is a place to stop; the middle of a
        load is not."""
        if phase == "denoise":
            self.control.stepped(done, total)
        if phase != "load":
            self.control.check()

    def report(self, phase: str, done: int, total: int) -> None:
        self.observer.stepped(self.step, phase, done, total)

    def loading(self, load: Load, index: int, total: int) -> None:
        self.control.check()
        self.step = load.label
        self.observer.loading(load.label, load.cls.__name__, index, total)

    def collect(self, finished: Iterator[tuple[str, Output]]) -> None:
        for step, output in finished:
            self.outputs.append(output)
            self.observer.produced(step, output)

    def where(self) -> str:
        return f"step {self.step!r}, denoise" if self.control.steps else f"step {self.step!r}"
