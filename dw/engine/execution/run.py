"""One run: its context, which does not change, its state, and its stop. All of its steps share
them, those of sub-workflows as well."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from diffusers import DiffusionPipeline

from dw.engine.calls.previews import Previews
from dw.engine.cancellation import RunControl
from dw.engine.device import Device
from dw.engine.files.file_names import fitted_name
from dw.engine.files.outputs import OutputWriter
from dw.engine.models.cache import ComponentCache, LoadItem, StepRequirement
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.planner import Planner
from dw.engine.patches.progress_bars import Listener
from dw.errors import RunFailed
from dw.events import Event, Loading, Mapped, NotFinite, Preview, Produced, Stepped, Warned
from dw.redaction import Secrets
from dw.types import OutputFile, Spoiled
from dw.workflow import Document, Workflow


@dataclass(frozen=True, slots=True)
class RunResult:
    workflow: str
    seconds: float  # execution only, without loading
    seed: int
    outputs: tuple[OutputFile, ...]
    output_dir: str
    stopped_early: bool  # a stop left out denoising steps or iterations


@dataclass(frozen=True)
class RunContext:
    """What is run, who watches it, and what the engine keeps between runs."""

    run_id: int
    document: Document
    workflow: Workflow
    seed: int
    folder: Path
    control: RunControl
    emit: Callable[[Event], None]
    chosen: frozenset[str]  # the variables that the user set
    cache: ComponentCache
    writer: OutputWriter
    secrets: Secrets  # in the arguments, and tokens; see dw/redaction.py
    previews: Previews
    told: set[str]  # warnings that come once in the life of the engine
    origin: Mapping[str, Any] | None = None  # what result files tell of the run; None: nothing

    def warn(self, message: str) -> None:
        self.emit(Warned(self.run_id, message))


@dataclass
class RunState:
    """Where a run is, and what it has done."""

    context: RunContext
    planner: Planner
    stop: StopControl = field(init=False)
    step: str = ""  # what runs or is loaded, as in `refine.gen` or `gen.vae`
    pipeline: DiffusionPipeline | None = None  # the last one that was assembled
    needs: list[StepRequirement] = field(default_factory=list)  # known before, then the late ones
    seeds: dict[str, int] = field(default_factory=dict)  # of each pipeline step that ran
    outputs: list[OutputFile] = field(default_factory=list)
    names: set[str] = field(default_factory=set)  # of its files, in lower case
    scratch: list[OutputFile] = field(default_factory=list)  # of no use after a run that finishes
    timings_s: dict[str, float] = field(default_factory=dict)
    adapters: set[Fingerprint] = field(default_factory=set)  # those in host memory that it used
    used: dict[str, Fingerprint] = field(default_factory=dict)  # the adapters, by step and name
    warnings: set[str] = field(default_factory=set)  # that were given
    not_finite: list[NotFinite] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stop = StopControl(self.context.control, self.context.warn)

    @property
    def device(self) -> Device:
        return self.planner.context.device

    def warn(self, message: str) -> None:
        """Warn once in a run."""
        if message not in self.warnings:
            self.warnings.add(message)
            self.context.warn(message)

    @property
    def previews(self) -> Previews:
        return self.context.previews

    def warn_once(self, message: str) -> None:
        """Warn once in the life of the engine."""
        if message not in self.context.told:
            self.context.told.add(message)
            self.warn(message)

    def preview(self) -> Preview:
        """The preview to come, without its image: of the step that is about to be counted."""
        control = self.context.control
        return Preview(self.context.run_id, self.step, control.step + 1, control.steps)

    def spoiled(self, value: Spoiled, hints: Sequence[str] = (), *, is_allowed: bool) -> None:
        """Report a value that is not finite. Raises RunFailed unless it is allowed."""
        event = NotFinite(self.context.run_id, self.step, value, is_allowed)
        self.not_finite.append(event)
        self.context.emit(event)
        if not is_allowed:
            keep = '"allow_nan": true in the step keeps such a result'
            raise RunFailed(str(value), hints=[*hints, keep])

    def fingerprints(self) -> dict[str, Fingerprint]:
        """Those of the models, LoRAs and IP-Adapters that it has needed so far, by their label."""
        return {**self.context.cache.fingerprints(self.needs), **self.used}

    def listener(self) -> Listener:
        return Listener(self.count, self.report, self.warn)

    def count(self, phase: str, done: int, total: int) -> None:
        """Every denoising step, every downloaded chunk and every tensor is a place to cancel; what
        else the libraries count while they load is not."""
        if phase == "load" or self._is_skipped(phase, done):
            return
        if phase == "denoise":
            self.context.control.stepped(done, total)
        self.context.control.check()
        if phase == "denoise":
            self.stop.denoised(self.pipeline, done, total)

    def report(self, phase: str, done: int, total: int) -> None:
        if not self._is_skipped(phase, done):
            self.context.emit(Stepped(self.context.run_id, self.step, phase, done, total))

    def _is_skipped(self, phase: str, done: int) -> bool:
        """Whether a bar counts a step that was skipped: a modular pipeline's bar goes on counting
        after an interrupt."""
        is_skipping = self.stop.is_interrupted and getattr(self.pipeline, "_skips_steps", False)
        return phase == "denoise" and done > 0 and is_skipping

    def loading(self, load: LoadItem, index: int, total: int) -> None:
        self.context.control.check()
        self.step = load.label
        self.map(load.fingerprint)
        self.context.emit(Loading(self.context.run_id, load.label, load.cls.__name__, index, total))

    def map(self, *files: Fingerprint) -> None:
        """Tell whoever sees this process end which files may be mapped into its memory."""
        if weights := tuple(file for each in files for file in each.weights):
            self.context.emit(Mapped(self.context.run_id, weights))

    def collect(self, finished: Iterator[tuple[str, OutputFile]]) -> None:
        for step, output in finished:
            self.outputs.append(output)
            self.context.emit(Produced(self.context.run_id, step, output))

    def path(self, name: str) -> Path:
        """The path of a new file: a name that is taken, as by an earlier call of the same
        sub-workflow, gets a number."""
        base, unique, number = PurePath(name), name, 1
        while unique.lower() in self.names:
            number += 1
            unique = fitted_name(base.stem, f"-{number}{base.suffix}")
        self.names.add(unique.lower())
        return self.context.folder / unique

    def begin_again(self) -> None:
        """Forget the files of a failed attempt: the same names are written again."""
        self.outputs.clear()
        self.names.clear()

    def keep_scratch(self) -> None:
        """Keep the files made so far: what should come of them cannot be written."""
        self.outputs += self.scratch
        self.scratch.clear()

    def sweep(self) -> None:
        for output in self.scratch:
            with suppress(OSError):  # what stays does no harm
                Path(output.path).unlink(missing_ok=True)

    def where(self) -> str:
        phase = ""
        if self.context.control.steps > 0:
            phase = ", decode" if self.is_denoised else ", denoise"
        return f"step {self.step!r}{phase}"

    @property
    def is_denoised(self) -> bool:
        """Whether the current call is past its denoising, as far as its bar shows."""
        return 0 < self.context.control.steps == self.context.control.step

    def result(self) -> RunResult:
        return RunResult(
            workflow=self.context.workflow.id,
            seconds=self.timings_s["execute"],
            seed=self.context.seed,
            outputs=tuple(self.outputs),
            output_dir=str(self.context.folder),
            stopped_early=self.stop.cuts > 0,
        )


class StopControl:
    """The stops of a run: which were taken, and what they ended early."""

    def __init__(self, control: RunControl, warn: Callable[[str], None]) -> None:
        self._control = control
        self._warn = warn
        self.taken = 0  # stops
        self.cuts = 0  # loops that a stop ended: of denoising steps and of iterations
        self.is_interrupted = False  # the current or last denoising was ended by a stop

    def take(self) -> bool:
        """Whether a stop has come since the last call of this."""
        is_taken = self._control.take_stop()
        self.taken += is_taken
        return is_taken

    def cut(self) -> bool:
        """Whether a stop has come, for a loop that it ends."""
        is_cut = self.take()
        self.cuts += is_cut
        return is_cut

    def denoised(self, pipeline: DiffusionPipeline | None, done: int, total: int) -> None:
        """Interrupt the pipeline's denoising when a stop has come."""
        if done == 0:
            # A pipeline may denoise in parts: a stop ends one of them.
            self._interrupt(pipeline, False)
        elif self.is_interrupted:
            self._interrupt(pipeline, False)
            self.cuts -= 1
            name = type(pipeline).__name__
            self._warn(f"{name} cannot stop early: it denoises to the end")
        elif done < total and self.cut():
            self._interrupt(pipeline, True)

    def _interrupt(self, pipeline: DiffusionPipeline | None, wanted: bool) -> None:
        # Pipelines read it between two steps. Each call begins by setting it to False, so it can
        # only be set from inside; a pipeline that does not read it counts another step.
        self.is_interrupted = wanted
        if pipeline is not None:
            pipeline._interrupt = wanted
