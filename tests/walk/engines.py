"""Engines in forked processes: one that lives on, and cold ones that run once.

The process that forks them has imported the libraries and loaded nothing, and has one thread, so a
cold engine costs a fork and not three seconds of imports. Each is the child of that process, so
that all begin with the same state of every library.
"""

from __future__ import annotations

import gc
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from importlib import import_module
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import torch

from dw.engine import Cancelled, Engine, RunControl
from dw.errors import DwError
from dw.events import Event, Loading, Run
from dw.types import Permissions
from dw.workflow import Document, validate_text
from tests.engine.session import CancelsAtLook, Gpu

EXAMPLES = Path(__file__).parent.parent.parent / "examples"

LIBRARIES = ("diffusers.", "transformers.", "peft.", "torch.", "torchao.", "optimum.", "sdnq.")

TIMEOUT_S = 600.0
"""Of one job. The slowest takes 30 s on a busy machine: one that takes longer hangs."""


@dataclass(frozen=True)
class Job:
    """A run, and what is done to the engine before it."""

    path: Path
    text: str
    arguments: dict[str, Any] = field(default_factory=dict)
    seed: int | None = 7
    on_gpu: bool = False
    rehearse: bool = False
    commands: tuple[str, ...] = ()  # methods of the engine: clear, memory, check, ...
    # A run that comes first, and is cancelled or stopped at this share of the last run's looks.
    cut: tuple[Literal["cancel", "stop"], float] | None = None


@dataclass(frozen=True)
class Outcome:
    """How a run ended. `results` are the hashes of its files, by name."""

    ending: str  # "finished", "failed", "died"
    results: dict[str, str]
    message: str = ""
    loaded: tuple[str, ...] = ()  # components, without their steps
    modules: tuple[str, ...] = ()  # that it has imported
    cpu_s: float = 0.0

    def differs(self, other: Outcome) -> bool:
        return (self.ending, self.results, self.message) != (
            other.ending,
            other.results,
            other.message,
        )


class StopsAtLook(CancelsAtLook):
    """A control that is stopped when the run has looked at it this many times."""

    def cancel(self, cause: str | None = None) -> None:
        self.stop()


class EngineProcess:
    """An engine in a process of its own, with what `sabotage` does to it first."""

    def __init__(self, outputs: Path, sabotage: Callable[[], None] | None = None) -> None:
        tasks = os.listdir("/proc/self/task") if sys.platform == "linux" else ["main"]
        assert len(tasks) == 1, "a fork of a process with several threads may hang"
        context = get_context("fork")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(theirs, outputs, sabotage), daemon=True
        )
        self._process.start()
        theirs.close()

    def run(self, job: Job) -> Outcome:
        try:
            self._connection.send(job)
            if not self._connection.poll(TIMEOUT_S):
                self._process.kill()
                return Outcome("died", {}, f"no answer within {TIMEOUT_S:.0f} s")
            return self._connection.recv()  # type: ignore[no-any-return]
        except (EOFError, OSError):
            self._process.join()
            return Outcome("died", {}, f"exit code {self._process.exitcode}")

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()


def ready() -> None:
    """Make this process one to fork engines from."""
    torch.set_num_threads(1)
    os.environ["HF_HUB_OFFLINE"] = "1"
    gc.collect()
    gc.freeze()  # a child that collects would copy every page of the imports


def cold(job: Job, outputs: Path) -> Outcome:
    """What an engine that holds nothing makes of it. What it had to import for that, this process
    imports for the next ones."""
    process = EngineProcess(outputs)
    outcome = process.run(job)
    process.close()
    for name in outcome.modules:
        if name not in sys.modules and name.startswith(LIBRARIES):
            with suppress(Exception):  # of a package that is there in part
                import_module(name)
    return outcome


def in_a_child(work: Callable[[], None]) -> None:
    """Do what would load something, elsewhere."""
    process = get_context("fork").Process(target=work)
    process.start()
    process.join()
    if process.exitcode:
        raise RuntimeError(f"exit code {process.exitcode} of {work}")


def _serve(
    connection: Connection[Any, Any], outputs: Path, sabotage: Callable[[], None] | None
) -> None:
    log = os.open(outputs.with_suffix(".log"), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    warnings.simplefilter("ignore")
    # Before a second thread: torch makes its pool anew at the first use after a fork, unlocked.
    torch.set_num_threads(1)
    if sabotage is not None:
        sabotage()
    served = _Served(outputs)
    try:
        while True:
            connection.send(served.run(connection.recv()))
    except EOFError:
        os._exit(0)


class _Served:
    def __init__(self, outputs: Path) -> None:
        self._engine = Engine()
        self._choose = self._engine._find_device
        self._outputs = outputs
        self._looks = 20
        self._events: list[Event] = []

    def run(self, job: Job) -> Outcome:
        before, begun = {*sys.modules}, time.process_time()
        on_gpu = Gpu("cpu", "for the walk", self._engine._live_models.live_bytes)
        self._engine._find_device = (  # type: ignore[method-assign]
            (lambda _: on_gpu) if job.on_gpu else self._choose
        )
        for command in job.commands:
            takes_document = command in ("check", "prepare")
            with suppress(DwError):  # the run says what is wrong with it
                getattr(self._engine, command)(*([_document(job)] if takes_document else []))
        if job.cut is not None:
            how, share = job.cut
            look = 1 + int(share * self._looks)
            self._outcome(job, CancelsAtLook(look) if how == "cancel" else StopsAtLook(look))
        control = CancelsAtLook()
        outcome = self._outcome(job, control)
        assert outcome is not None
        self._looks = control.looks
        modules = tuple(name for name in [*sys.modules] if name not in before)
        cpu_s = time.process_time() - begun
        return replace(outcome, modules=modules, cpu_s=cpu_s)

    def _outcome(self, job: Job, control: RunControl) -> Outcome | None:
        """None when it was cancelled."""
        self._events = []
        failure = ""
        done = False
        try:
            document = _document(job)
            request = Run(
                0,
                str(job.path),
                job.text,
                job.arguments,
                str(self._outputs),
                seed=job.seed,
                device="cpu",
                rehearse=job.rehearse,
            )
            result = self._engine.run(document, request, control=control, emit=self._events.append)
            done = True
        except Cancelled:
            pass
        except DwError as error:
            failure = str(error)
        except Exception as error:  # as the worker does
            failure = f"{type(error).__name__}: {error}"
        loaded = tuple(
            event.component.rpartition(".")[2]
            for event in self._events
            if isinstance(event, Loading)
        )
        if done:
            hashes = {Path(output.path).name: output.sha256 for output in result.outputs}
            shutil.rmtree(result.output_dir)
            return Outcome("finished", hashes, "", loaded)
        self._engine.recover()
        if not failure:
            return None
        message = failure.replace(str(self._outputs), "OUTPUTS")
        return Outcome("failed", {}, message, loaded)


def _document(job: Job) -> Document:
    """Raises WorkflowError."""
    permissions = Permissions(allowed_dirs=(job.path.parent, EXAMPLES))
    return validate_text(job.text, job.path, permissions=permissions).document_or_raise()
