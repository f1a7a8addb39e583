"""A worker in memory: a WorkerClient, with the events that a worker would send."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from queue import SimpleQueue

from dw.errors import WorkerLost
from dw.events import (
    TERMINAL,
    CancelRequested,
    Check,
    Checked,
    Clear,
    Cleared,
    Command,
    Died,
    Event,
    Executing,
    Finished,
    Launched,
    Launching,
    Loaded,
    Loading,
    Planned,
    Prepare,
    Prepared,
    Produced,
    Report,
    Reported,
    Run,
    RunCancelled,
    Started,
    Stepped,
    StepStarted,
    StopRequested,
)
from dw.settings import Settings
from dw.types import ComponentRow, Diagnostic, Memory, OutputFile
from dw.worker.handle import INTERRUPTED, Interrupt, WorkerStatus
from dw.worker.process.stack import StackSummary

MB = 2**20
INF = float("inf")
PARTS = ("gen.vae", "gen.text_encoder", "gen.tokenizer", "gen.unet", "gen.scheduler")
Answer = Callable[["FakeClient", Run], Iterator[Event]]


class FakeTicket:
    """Its events are all there at once, but for a run that hangs until it is cancelled."""

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.events: SimpleQueue[Event | Interrupt] = SimpleQueue()

    def __iter__(self) -> Iterator[Event | Interrupt]:
        while True:
            event = self.events.get()
            yield event
            if isinstance(event, TERMINAL):
                return

    def interrupt(self) -> None:
        self.events.put(INTERRUPTED)


class FakeClient:
    """`answers`: what the next runs do after their start; without one they succeed."""

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.answers: list[Answer] = []
        self.commands: list[Command] = []
        self.timeouts: list[float] = []
        self.problems: tuple[Diagnostic, ...] = ()
        self.ignores_cancel = False
        self.has_worker = False
        self.is_closed = False
        self.runs = 0
        self.loaded: str | None = None  # the text of the workflow whose models are there
        self.tickets: dict[int, FakeTicket] = {}
        self._ids = itertools.count(-1, -1)

    def next_id(self) -> int:
        return next(self._ids)

    def submit(self, command: Command, timeout_s: float = INF) -> FakeTicket:
        self.commands.append(command)
        self.timeouts.append(timeout_s)
        handle = self.tickets[command.run_id] = FakeTicket(command.run_id)
        for event in self._answer(command):
            handle.events.put(event)
        return handle

    def cancel(self, run_id: int, leaving: str | None = None) -> None:
        events, reason = self.tickets[run_id].events, "leaving" if leaving else "user"
        events.put(CancelRequested(run_id, reason, 10.0, cause=leaving))
        if not self.ignores_cancel:
            events.put(RunCancelled(run_id, step=2, steps=4))

    def stop_run(self, run_id: int) -> None:
        events = self.tickets[run_id].events
        events.put(StopRequested(run_id, 1.2))
        events.put(Stepped(run_id, "gen", "denoise", 3, 4))
        memory = self.memory()
        events.put(Finished(run_id, "FluxDev", 0.5, 42, (), memory, "outputs"))

    def kill(self) -> None:
        run_id = max(self.tickets)
        self._forget()
        self.tickets[run_id].events.put(Died(run_id, "killed", "killed on request", pid=7))

    def stop(self) -> None:
        self._forget()

    def status(self) -> WorkerStatus:
        if not self.has_worker:
            return WorkerStatus("none", None, 8, None)
        return WorkerStatus("idle", 7, None, max(self.tickets, default=None))

    def where(self) -> StackSummary | None:
        return StackSummary("idle", "Thread 0x1: ...") if self.has_worker else None

    def apply(self, settings: Settings) -> None:
        self.settings = settings

    def close(self, cause: str = "") -> None:
        self._forget()
        self.is_closed = True

    # -------------------------------------------------------------- what a worker would do

    def memory(self) -> Memory:
        rows = [ComponentRow(n, "Class", "float32", "cpu", MB, 0.0) for n in PARTS if self.loaded]
        return Memory("Test GPU", 3 * MB, 4 * MB, 20 * MB, 24 * MB, self.runs, tuple(rows))

    def _answer(self, command: Command) -> Iterator[Event]:
        match command:
            case Run():
                yield from self._run(command)
            case Report():
                self._need_worker()
                yield Reported(command.run_id, self.memory())
            case Clear():
                self._need_worker()
                self.loaded, self.runs = None, 0
                yield Cleared(command.run_id, 3 * MB, self.memory())
            case Check():
                yield Checked(command.run_id, self.problems)
            case Prepare():
                yield Prepared(command.run_id)

    def _run(self, run: Run) -> Iterator[Event]:
        if not self.has_worker:
            self.has_worker = True
            yield Launching(run.run_id)
            yield Launched(run.run_id, pid=7, from_standby=True)
        yield Started(run.run_id, "FluxDev", _seed(run), run.output_dir)
        yield from (self.answers.pop(0) if self.answers else succeed)(self, run)

    def _need_worker(self) -> None:
        if not self.has_worker:
            raise WorkerLost("no worker is running")

    def _forget(self) -> None:
        self.has_worker, self.loaded, self.runs = False, None, 0


# ------------------------------------------------------------------ how a run goes


def load(client: FakeClient, run: Run) -> Iterator[Event]:
    """Everything at first, the scheduler alone after a change, nothing when all is there."""
    if client.loaded == run.text:
        yield Planned(run.run_id, "cached", kept=PARTS, loading=(), dropped=())
    elif client.loaded is None:
        yield Planned(run.run_id, "first", kept=(), loading=PARTS, dropped=())
        for index, name in enumerate(PARTS, start=1):
            yield Loading(run.run_id, name, "Class", index, len(PARTS))
    else:
        yield Planned(run.run_id, "changed", PARTS[:-1], PARTS[-1:], PARTS[-1:])
    if client.loaded != run.text:
        yield Loaded(run.run_id, "FluxDev", 1.0)
    client.loaded = run.text


def execute(run: Run) -> Iterator[Event]:
    yield Executing(run.run_id, "FluxDev")
    yield StepStarted(run.run_id, "gen", 1, 1)
    for done in range(1, 5):
        yield Stepped(run.run_id, "gen", "denoise", done, 4)


def succeed(client: FakeClient, run: Run) -> Iterator[Event]:
    yield from load(client, run)
    yield from execute(run)
    client.runs += 1
    output = OutputFile(f"{run.output_dir}/{client.runs}.png", "image/png", 100, "0" * 64, 64, 64)
    yield Produced(run.run_id, "gen", output)
    yield Finished(
        run.run_id, "FluxDev", 0.5, _seed(run), (output,), client.memory(), run.output_dir
    )


def _seed(run: Run) -> int:
    return run.drawn_seed if run.seed is None else run.seed


def ending_with(event: Callable[[int], Event]) -> Answer:
    """A run that gets as far as its denoising and then ends so."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        yield from load(client, run)
        yield from execute(run)
        yield event(run.run_id)

    return answer


def pressing(*events: Event | Interrupt) -> Answer:
    """A run that hangs while the user presses Ctrl-C, once for each INTERRUPTED."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        yield from load(client, run)
        yield Executing(run.run_id, "FluxDev")
        yield from events  # type: ignore[misc]

    return answer
