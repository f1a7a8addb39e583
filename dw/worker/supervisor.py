"""The supervisor's policy: what happened goes in, what to do comes out.

Pure: it starts no process, reads no clock and sends nothing; client.py carries out the actions.
Time is given in seconds of a monotonic clock.

There is at most one active worker and at most one standby, the same thing in two roles: a standby
has its imports done and becomes active when a run needs a worker. Each command is a job; each
accepted job gets exactly one terminal event, whatever becomes of its worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from dw.errors import WorkerLost
from dw.worker import protocol
from dw.worker.job import CancelReason, Job, Limits
from dw.worker.protocol import (
    Cancel,
    Cancelled,
    CancelRequested,
    Check,
    Clear,
    Command,
    Died,
    Event,
    Failed,
    Greeted,
    Launched,
    Launching,
    Prepare,
    Quit,
    Report,
    Run,
    Said,
    TimedOut,
)

if TYPE_CHECKING:
    from dw.worker.autopsy import Death


class State(Enum):
    """A worker's life. QUITTING and KILLED only ever end in its death."""

    BOOTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    QUITTING = "stopping"
    KILLED = "killed"


TRANSITIONS = {
    State.BOOTING: {State.IDLE, State.QUITTING, State.KILLED},
    State.IDLE: {State.RUNNING, State.QUITTING, State.KILLED},
    State.RUNNING: {State.IDLE, State.CANCELLING, State.QUITTING, State.KILLED},
    State.CANCELLING: {State.IDLE, State.QUITTING, State.KILLED},
    State.QUITTING: {State.KILLED},
    State.KILLED: set(),
}


# ------------------------------------------------------------------ actions


@dataclass(frozen=True, slots=True)
class Spawn:
    worker: int
    nice: int = 0


@dataclass(frozen=True, slots=True)
class Send:
    worker: int
    command: Command


@dataclass(frozen=True, slots=True)
class Kill:
    worker: int


@dataclass(frozen=True, slots=True)
class Emit:
    event: Event


Action = Spawn | Send | Kill | Emit


@dataclass(slots=True)
class Worker:
    number: int
    born_at: float
    was_standby: bool
    state: State = State.BOOTING
    pid: int = 0
    announced: bool = False
    job: Job | None = None
    asides: set[int] = field(default_factory=set)  # reports, answered beside the job
    quits: list[int] = field(default_factory=list)
    quit_at: float = 0.0
    killed_because: str | None = None
    poisoned: bool = False

    def become(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"worker {self.number} cannot go from {self.state} to {state}")
        self.state = state

    @property
    def greeted(self) -> bool:
        return self.pid != 0

    @property
    def is_leaving(self) -> bool:
        return self.state in (State.QUITTING, State.KILLED)


# ------------------------------------------------------------------ the policy


class Supervisor:
    """The verbs return the actions to take, in order."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.active: Worker | None = None
        self.standby: Worker | None = None
        self.restarts = 0
        self.standby_trouble: str | None = None
        self._leaving: dict[int, Worker] = {}
        self._waiting: deque[Job] = deque()  # for the active worker
        self._errands: deque[Job] = deque()  # for whichever worker is free, the standby first
        self._standby_at: float | None = 0.0  # when to make one
        self._next_worker = 1
        self._closing = False

    # -------------------------------------------------------------- what the shell asks

    def submit(self, command: Command, now: float, timeout_s: float = float("inf")) -> list[Action]:
        """Accept a command. Raises WorkerLost when it needs a worker's memory and there is no
        worker.
        """
        job = Job(command, timeout_s=timeout_s, progressed_at=now)
        match command:
            case Run():
                self._waiting.append(job)
            case Check() | Prepare():
                self._errands.append(job)
            case Clear():
                self._active()
                self._waiting.append(job)
            case Report():
                return self._report(command)
            case Quit():
                return self._quit(command, now)
            case Cancel():
                return self.cancel(command.run_id, now)
        return self._dispatch(now)

    def cancel(self, run_id: int, now: float, reason: CancelReason = "user") -> list[Action]:
        """Ask a run to stop. One that is over, unknown or already asked is left alone."""
        if waiting := next((job for job in self._waiting if job.run_id == run_id), None):
            self._waiting.remove(waiting)
            return [Emit(Cancelled(run_id, 0, 0))]
        worker = self.active
        if worker is None or worker.job is None or worker.job.run_id != run_id:
            return []
        if worker.state is not State.RUNNING:
            return []
        worker.become(State.CANCELLING)
        worker.job.cancel_reason = reason
        worker.job.cancelled_at = now
        return [
            Emit(CancelRequested(run_id, reason, self.limits.grace_s)),
            Send(worker.number, Cancel(run_id)),
        ]

    def kill(self, because: str = "killed on request") -> list[Action]:
        """The active worker, now; its models are lost."""
        return self._kill(self.active, because) if self.active else []

    def limit(self, limits: Limits, now: float) -> list[Action]:
        """New limits, for the runs that are under way too."""
        self.limits = limits
        if self.standby is not None and not limits.standby:
            return self._kill(self.standby, "the standby was switched off")
        if self.standby is None:
            self._standby_at = now
        return []

    def close(self, now: float) -> list[Action]:
        """Everything goes: the standby at once, the active worker politely."""
        self._closing = True
        actions = self._kill(self.standby, "the shell is leaving") if self.standby else []
        if self.active is None:
            return actions
        if self.active.job is not None or not self.active.greeted:
            return actions + self._kill(self.active, "the shell is leaving")
        return actions + self._quit(Quit(), now)

    # -------------------------------------------------------------- what the world does

    def heard(self, number: int, event: Event, now: float) -> list[Action]:
        """An event of a worker. Late and foreign ones are dropped."""
        worker = self._find(number)
        if worker is None:
            return []
        match event:
            case Greeted():
                return self._greeted(worker, event, now)
            case protocol.Reported() if event.run_id in worker.asides:
                worker.asides.discard(event.run_id)
                return [Emit(event)]
            case protocol.Departed():
                return []  # believed when its process is gone
            case _:
                pass
        if worker.job is None or event.run_id != worker.job.run_id:
            return []
        worker.job.hear(event, now)
        if not isinstance(event, protocol.TERMINAL):
            return [Emit(event)]
        return self._ended(worker, worker.job, event, now)

    def said(self, number: int, lines: Sequence[str], now: float) -> list[Action]:
        """Lines that a worker's process printed. They count as progress of what it does."""
        worker = self._find(number)
        if worker is None or worker.job is None or not lines:
            return []
        worker.job.progressed_at = now
        return [Emit(Said(worker.job.run_id, line)) for line in lines]

    def died(self, number: int, death: Death, now: float) -> list[Action]:
        """A worker's process is gone and its last events were heard."""
        worker = self._find(number)
        if worker is None:
            return []
        was_active = worker is self.active
        self._forget(worker)
        self._count(worker, now)
        actions: list[Action] = [Emit(protocol.Departed(run_id)) for run_id in worker.quits]
        if worker.job is not None:
            actions.append(Emit(self._epitaph(worker, worker.job.run_id, death, worker.job)))
        actions += [Emit(self._epitaph(worker, run_id, death)) for run_id in sorted(worker.asides)]
        if not worker.greeted and not worker.is_leaving:
            actions += self._failed_boot(worker, death, was_active)
        return actions + self._dispatch(now)

    def tick(self, now: float) -> list[Action]:
        """Do what has become due."""
        actions: list[Action] = []
        for worker in self._workers():
            if worker.state is State.QUITTING and now >= worker.quit_at + self.limits.quit_s:
                actions += self._kill(worker, "it did not leave when asked")
            elif worker.job is not None and not worker.is_leaving:
                actions += self._check_clocks(worker, worker.job, now)
        return actions + self._make_standby(now)

    def next_tick(self) -> float:
        """When `tick` has something to do, in the clock's seconds; infinity when nothing is due."""
        due = [self._standby_due()]
        for worker in self._workers():
            if worker.state is State.QUITTING:
                due.append(worker.quit_at + self.limits.quit_s)
            elif worker.job is not None and not worker.is_leaving:
                due.append(worker.job.expiry(self.limits))
        return min(due)

    # -------------------------------------------------------------- jobs

    def _dispatch(self, now: float) -> list[Action]:
        """Give waiting jobs to workers that are free."""
        actions: list[Action] = []
        if self._waiting and not self._closing:
            if self.active is None:
                actions += self._launch(now)
            if self.active is not None and self.active.state is State.IDLE:
                actions += self._assign(self.active, self._waiting.popleft(), now)
        if self._errands and not self._closing:
            actions += self._dispatch_errand(now)
        return actions

    def _dispatch_errand(self, now: float) -> list[Action]:
        workers = [worker for worker in (self.standby, self.active) if worker is not None]
        if not workers:
            self.standby = self._new_worker(now, standby=True)
            return [Spawn(self.standby.number)]
        free = next((worker for worker in workers if worker.state is State.IDLE), None)
        return self._assign(free, self._errands.popleft(), now) if free else []

    def _launch(self, now: float) -> list[Action]:
        """There is no active worker and one is needed: the standby, or else a new process."""
        job = self._waiting[0]
        job.launching = True
        actions: list[Action] = [Emit(Launching(job.run_id))]
        self.active, self.standby = self.standby, None
        self._standby_at = None  # made again when the worker has had its first rest
        if self.active is None:
            self.active = self._new_worker(now, standby=False)
            actions.append(Spawn(self.active.number))
        return actions

    def _assign(self, worker: Worker, job: Job, now: float) -> list[Action]:
        actions: list[Action] = []
        if job.launching and not worker.announced:
            worker.announced = True
            actions.append(Emit(Launched(job.run_id, worker.pid, worker.was_standby)))
        worker.become(State.RUNNING)
        worker.job = job
        job.progressed_at = now
        return [*actions, Send(worker.number, job.command)]

    def _ended(self, worker: Worker, job: Job, event: Event, now: float) -> list[Action]:
        """Its terminal event: the state changes first, so that whoever hears it can run at once."""
        if isinstance(event, Cancelled) and job.cancel_reason in ("deadline", "stall"):
            event = self._timed_out(job, keeps_models=True)
        worker.job = None
        actions: list[Action] = []
        if not worker.is_leaving:
            worker.become(State.IDLE)
        if isinstance(event, Failed) and event.fatal:
            worker.poisoned = True
            actions += self._kill(worker, "its CUDA context is beyond repair")
        actions.append(Emit(event))
        if worker is self.active and self.standby is None and self._standby_at is None:
            self._standby_at = now + self.limits.standby_delay_s
        return actions + self._dispatch(now)

    def _report(self, command: Report) -> list[Action]:
        worker = self._active()
        if not worker.greeted:
            raise WorkerLost("the worker is still starting")
        worker.asides.add(command.run_id)
        return [Send(worker.number, command)]

    def _active(self) -> Worker:
        if self.active is None or self.active.is_leaving:
            raise WorkerLost("no worker is running", hints=["a worker starts with the first run"])
        return self.active

    # -------------------------------------------------------------- clocks

    def _check_clocks(self, worker: Worker, job: Job, now: float) -> list[Action]:
        if now < job.expiry(self.limits):
            return []
        if job.cancel_reason is not None:
            return self._kill(
                worker, f"it did not stop within {self.limits.grace_s:g} s of being asked"
            )
        clock: CancelReason = "stall" if job.executing_since is None else "deadline"
        if worker is self.active:
            return self.cancel(job.run_id, now, clock)
        return []

    def _timed_out(self, job: Job, keeps_models: bool) -> TimedOut:
        if job.cancel_reason == "stall":
            return TimedOut(job.run_id, "stall", self.limits.stall_s, keeps_models, job.last_step)
        return TimedOut(job.run_id, "deadline", job.timeout_s, keeps_models, job.last_step)

    # -------------------------------------------------------------- lives and deaths

    def _greeted(self, worker: Worker, event: Greeted, now: float) -> list[Action]:
        worker.pid = event.pid
        if event.version != protocol.VERSION:
            return self._refuse(worker, event)
        if worker.is_leaving:
            return []
        worker.become(State.IDLE)
        self.standby_trouble = None
        return self._dispatch(now)

    def _refuse(self, worker: Worker, event: Greeted) -> list[Action]:
        """The package was changed under a running shell; no other worker would understand it."""
        cause = (
            f"the worker speaks version {event.version} of the protocol and the shell version"
            f" {protocol.VERSION}: leave the shell and start it again"
        )
        stranded = [*self._waiting, *self._errands]
        self._waiting.clear()
        self._errands.clear()
        self._standby_at = None
        self.standby_trouble = cause
        told = [Emit(Died(job.run_id, "version", cause, event.pid)) for job in stranded]
        return [*told, *self._kill(worker, cause)]

    def _quit(self, command: Quit, now: float) -> list[Action]:
        worker = self.active
        if worker is None:
            return [Emit(protocol.Departed(command.run_id))]
        worker.quits.append(command.run_id)
        self._retire(worker)
        if not worker.greeted or worker.job is not None:
            return self._kill(worker, "the worker was stopped")
        worker.become(State.QUITTING)
        worker.quit_at = now
        return [Send(worker.number, command)]

    def _kill(self, worker: Worker, because: str) -> list[Action]:
        if worker.state is State.KILLED:
            return []
        worker.become(State.KILLED)
        worker.killed_because = because
        self._retire(worker)
        return [Kill(worker.number)]

    def _retire(self, worker: Worker) -> None:
        """It is leaving: its place is free, but it is not forgotten before it is dead."""
        self._leaving[worker.number] = worker
        if worker is self.active:
            self.active = None
        elif worker is self.standby:
            self.standby = None

    def _forget(self, worker: Worker) -> None:
        self._retire(worker)
        del self._leaving[worker.number]

    def _count(self, worker: Worker, now: float) -> None:
        """Restarts in a row, and when the next standby is due."""
        if self._closing or worker.state is State.QUITTING:
            return
        if worker.killed_because is None:
            in_a_row = 0 if now - worker.born_at >= self.limits.stable_s else self.restarts
            self.restarts = in_a_row + 1
        if self.standby is None:
            self._standby_at = now + self.limits.standby_delay_s

    def _failed_boot(self, worker: Worker, death: Death, was_active: bool) -> list[Action]:
        """It never came to life, and the next one would not either: nobody waits for it in vain."""
        self._standby_at = None
        self.standby_trouble = death.cause
        stranded = list(self._waiting) if was_active else []
        if self.active is None:
            stranded += self._errands
            self._errands.clear()
        if was_active:
            self._waiting.clear()
        return [Emit(self._epitaph(worker, job.run_id, death)) for job in stranded]

    def _epitaph(self, worker: Worker, run_id: int, death: Death, job: Job | None = None) -> Event:
        if job is not None and worker.killed_because and job.cancel_reason in ("deadline", "stall"):
            return self._timed_out(job, keeps_models=False)
        kind, cause = death.kind, death.cause
        if worker.killed_because:
            kind, cause = "killed", worker.killed_because
        elif not worker.greeted:
            kind, cause = "boot", f"{death.cause} before it was ready"
        elif worker.poisoned:
            kind = "poisoned"
        return Died(
            run_id,
            kind,
            cause,
            death.pid,
            last_step=job.last_step if job else None,
            stack=death.stack,
            tail=death.tail,
        )

    # -------------------------------------------------------------- the standby

    def _make_standby(self, now: float) -> list[Action]:
        if now < self._standby_due():
            return []
        first = self._next_worker == 1
        self._standby_at = None
        self.standby = self._new_worker(now, standby=True)
        # The first one is what the user waits for; a later one must not slow the worker down.
        return [Spawn(self.standby.number, nice=0 if first else 10)]

    def _standby_due(self) -> float:
        wanted = self.limits.standby and self.standby is None and not self._closing
        if not wanted or self._standby_at is None or self.restarts > self.limits.restarts:
            return float("inf")
        if self.active is not None and self.active.state is not State.IDLE:
            return float("inf")
        return self._standby_at

    def _new_worker(self, now: float, *, standby: bool) -> Worker:
        worker = Worker(self._next_worker, now, was_standby=standby)
        self._next_worker += 1
        return worker

    def _workers(self) -> list[Worker]:
        present = [worker for worker in (self.active, self.standby) if worker is not None]
        return [*present, *self._leaving.values()]

    def _find(self, number: int) -> Worker | None:
        return next((worker for worker in self._workers() if worker.number == number), None)
