"""One run: what all of its steps share, those of sub-workflows too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from diffusers import DiffusionPipeline

from dw.engine.calls.call_settings import CallSettings
from dw.engine.calls.ip_adapter import IpAdapters
from dw.engine.calls.loras import LoraAdapters
from dw.engine.cancellation import RunControl
from dw.engine.files.outputs import OutputWriter
from dw.engine.models.cache import ComponentCache, LoadItem, StepRequirement
from dw.engine.models.planner import Planner
from dw.events import Event, Loading, Produced, Stepped, Warned
from dw.types import OutputFile
from dw.workflow import Document, Workflow


@dataclass
class Run:
    document: Document
    workflow: Workflow
    seed: int
    folder: Path
    control: RunControl
    run_id: int
    emit: Callable[[Event], None]
    planner: Planner
    cache: ComponentCache
    adapters: LoraAdapters
    ip_adapters: IpAdapters
    call_settings: CallSettings
    writer: OutputWriter
    chosen: frozenset[str] = frozenset()  # the variables that the user set
    step: str = ""  # what runs or is loaded, as in `refine.gen` or `gen.vae`
    pipeline: DiffusionPipeline | None = None  # the one that was wired last
    outputs: list[OutputFile] = field(default_factory=list)
    scratch: list[Path] = field(default_factory=list)  # files that are of no use after the run
    timings_s: dict[str, float] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)  # of each pipeline step that ran
    needs: list[StepRequirement] = field(
        default_factory=list
    )  # that were known before, then the late ones
    warnings: set[str] = field(default_factory=set)  # that were told
    stops: int = 0  # that were taken
    cuts: int = 0  # loops that a stop ended: of denoising steps and of iterations
    is_interrupted: bool = False  # the denoising that runs, or ran last, was told to end

    def count(self, phase: str, done: int, total: int) -> None:
        """Every denoising step, every downloaded chunk and every tensor is a place to cancel; what
        else the libraries count while they load is not."""
        if phase == "load" or self._is_skipped(phase, done):
            return
        if phase == "denoise":
            self.control.stepped(done, total)
        self.control.check()
        if phase == "denoise":
            self._denoised(done, total)

    def _denoised(self, done: int, total: int) -> None:
        """Tell the pipeline to end its denoising when a stop has come."""
        if done == 0:
            self._interrupt(False)  # a pipeline that denoises in parts is stopped in one of them
        elif self.is_interrupted:
            self._interrupt(False)
            self.cuts -= 1
            name = type(self.pipeline).__name__
            self.tell(f"{name} cannot stop early: it denoises to the end")
        elif done < total and self.cut():
            self._interrupt(True)

    def _interrupt(self, wanted: bool) -> None:
        # What pipelines look at between two steps. Each call begins by setting it to False, so it
        # can only be set from inside; those that never look count another step after it.
        self.is_interrupted = wanted
        if self.pipeline is not None:
            self.pipeline._interrupt = wanted

    def cut(self) -> bool:
        """Whether a stop has come, which a loop takes that can be ended early."""
        is_cut = self.take_stop()
        self.cuts += is_cut
        return is_cut

    def take_stop(self) -> bool:
        taken = self.control.take_stop()
        self.stops += taken
        return taken

    def report(self, phase: str, done: int, total: int) -> None:
        if not self._is_skipped(phase, done):
            self.emit(Stepped(self.run_id, self.step, phase, done, total))

    def _is_skipped(self, phase: str, done: int) -> bool:
        """Whether a bar counts a step that was not done: a modular pipeline's goes on counting
        after it was told to end."""
        is_skipping = self.is_interrupted and getattr(self.pipeline, "_skips_steps", False)
        return phase == "denoise" and done > 0 and is_skipping

    def tell(self, message: str) -> None:
        self.emit(Warned(self.run_id, message))

    def warn(self, message: str) -> None:
        """Tell it, once in a run."""
        if message not in self.warnings:
            self.warnings.add(message)
            self.tell(message)

    def loading(self, load: LoadItem, index: int, total: int) -> None:
        self.control.check()
        self.step = load.label
        self.emit(Loading(self.run_id, load.label, load.cls.__name__, index, total))

    def collect(self, finished: Iterator[tuple[str, OutputFile]]) -> None:
        for step, output in finished:
            self.outputs.append(output)
            self.emit(Produced(self.run_id, step, output))

    def sweep(self) -> None:
        for path in self.scratch:
            with suppress(OSError):  # what stays does no harm
                path.unlink(missing_ok=True)

    def where(self) -> str:
        control = self.control
        phase = "" if control.steps == 0 else ", decode" if self.is_denoised else ", denoise"
        return f"step {self.step!r}{phase}"

    @property
    def is_denoised(self) -> bool:
        """Whether what is being called is past its denoising, as far as its bar tells."""
        return 0 < self.control.steps == self.control.step
