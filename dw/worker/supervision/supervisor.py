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
from dataclasses import replace

from dw import events
from dw.errors import WorkerLost
from dw.events import (
    Cancel,
    CancelRequested,
    Check,
    Clear,
    Command,
    Died,
    Event,
    Failed,
    GraceExpired,
    Heartbeat,
    Launched,
    Launching,
    LogLine,
    Prepare,
    Ready,
    Report,
    Run,
    RunCancelled,
    Shutdown,
    Stop,
    StopRequested,
    Warned,
)
from dw.worker.process.exit_cause import SIGKILL, ExitStatus
from dw.worker.process.resources import Free
from dw.worker.supervision.actions import Action, DumpStack, Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.command_state import CancelReason, CommandState, Limits
from dw.worker.supervision.gpu_memory_return import GpuMemoryReturn
from dw.worker.supervision.standby import CrashCount, Standby
from dw.worker.supervision.worker_state import (
    CLOCKS,
    NEVER,
    Reason,
    State,
    WorkerState,
    clock_cause,
    timed_out,
)

LEAVING = Reason("the shell is leaving")
ON_REQUEST = Reason("killed on request")
UNDEAD = "; its process does not end: it waits in the kernel, most likely for the driver"


class Supervisor:
    """The verbs return the actions to take, in order."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.active: WorkerState | None = None
        self.standby = Standby()
        self.row = CrashCount()
        self.reclaim = GpuMemoryReturn()
        self._leaving: dict[int, WorkerState] = {}
        self._waiting: deque[CommandState] = deque()  # for the active worker
        self._errands: deque[CommandState] = (
            deque()
        )  # for whichever worker is free, the standby first
        self._next_worker = 1
        self._closing = False

    # -------------------------------------------------------------- what the shell asks

    def submit(self, command: Command, now: float, timeout_s: float = float("inf")) -> list[Action]:
        """Accept a command. Raises WorkerLost when it needs a worker's memory and there is no
        worker.
        """
        job = CommandState(command, timeout_s=timeout_s, progressed_at=now)
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
            case Shutdown():
                return self._quit(command, now)
            case Cancel():
                return self.cancel(command.run_id, now)
            case Stop():
                return self.stop(command.run_id)
        return self._dispatch(now)

    def cancel(self, run_id: int, now: float, reason: CancelReason = "user") -> list[Action]:
        """Ask a run to stop. One that is over, unknown or already asked is left alone."""
        if waiting := next((job for job in self._waiting if job.run_id == run_id), None):
            self._waiting.remove(waiting)
            return [Emit(RunCancelled(run_id, 0, 0))]
        worker = self._running(run_id)
        if worker is None or worker.job is None:
            return []
        worker.become(State.CANCELLING)
        worker.job.cancel_reason = reason
        worker.job.cancelled_at = now
        pace = worker.pace
        return [
            Emit(CancelRequested(run_id, reason, self.limits.grace_s, pace.step_s, pace.reload_s)),
            Send(worker.number, Cancel(run_id, clock_cause(worker.job, self.limits))),
        ]

    def stop(self, run_id: int) -> list[Action]:
        """Have a run end its denoising early. One that waits or was asked is left alone."""
        worker = self._running(run_id)
        if worker is None or worker.job is None or worker.job.is_stopping:
            return []
        worker.job.is_stopping = True
        return [
            Emit(StopRequested(run_id, worker.pace.step_s)),
            Send(worker.number, Stop(run_id)),
        ]

    def kill(self, now: float) -> list[Action]:
        """The active worker; its models are lost. Asked in a run, it leaves its stack first, for
        which it has a moment; asked once more, it goes at once.
        """
        if self.active is None:
            return []
        job = self.active.job
        if job is None or not job.can_be_looked_at:
            return self._kill(self.active, ON_REQUEST, now)
        job.is_condemned = True
        job.looked_at = now
        return [DumpStack(self.active.number)]

    def limit(self, limits: Limits, now: float) -> list[Action]:
        """New limits, for the runs that are under way too."""
        self.limits = limits
        if self.standby.worker is not None and not limits.standby:
            return self._kill(self.standby.worker, Reason("the standby was switched off"), now)
        self.standby.wish(now)
        return []

    def close(self, now: float) -> list[Action]:
        """Everything goes: the standby at once, the active worker politely."""
        self._closing = True
        actions = self._kill(self.standby.worker, LEAVING, now) if self.standby.worker else []
        if self.active is None:
            return actions
        if self.active.job is not None or not self.active.greeted:
            return actions + self._kill(self.active, LEAVING, now)
        return actions + self._quit(Shutdown(), now)

    def restarts_in_a_row(self, now: float) -> int:
        """Unasked deaths one after the other, up to now."""
        stable_s = self.limits.stable_s
        lives = any(each.greeted and now - each.born_at >= stable_s for each in self._present())
        return 0 if lives else self.row.length

    @property
    def is_at_its_end(self) -> bool:
        """Whether the world holds nothing but what cannot even be killed."""
        return all(worker.is_given_up for worker in self._workers())

    # -------------------------------------------------------------- what the world does

    def heard(self, number: int, event: Event, now: float) -> list[Action]:
        """An event of a worker. Late and foreign ones are dropped."""
        worker = self._find(number)
        if worker is None:
            return []
        match event:
            case Ready():
                return self._greeted(worker, event, now)
            case Heartbeat():
                worker.beat_at, worker.rss = now, event.rss
                return []
            case events.Reported() if event.run_id in worker.asides:
                worker.asides.discard(event.run_id)
                return [Emit(event)]
            case events.Exited():
                return []  # believed when its process is gone
            case _:
                pass
        if worker.job is None or event.run_id != worker.job.run_id:
            return []
        worker.job.hear(event, now)
        worker.pace.hear(event, now)
        if not isinstance(event, events.TERMINAL):
            return [Emit(event)]
        return self._ended(worker, worker.job, event, now)

    def said(self, number: int, lines: Sequence[str], now: float) -> list[Action]:
        """Lines that a worker's process printed. They count as progress of what it does."""
        worker = self._find(number)
        if worker is None or worker.job is None or not lines:
            return []
        worker.job.progressed_at = now
        return [Emit(LogLine(worker.job.run_id, line)) for line in lines]

    def babbled(self, number: int, what: str, now: float) -> list[Action]:
        """A worker sent what is no event; nothing that it says can be believed any more."""
        worker = self._find(number)
        return self._kill(worker, Reason(what, is_fault=True), now) if worker else []

    def fell_mute(self, number: int, now: float) -> list[Action]:
        """A worker's event pipe has ended. Its death is near, or else it is brought about."""
        worker = self._find(number)
        if worker is not None and worker.mute_at is None:
            worker.mute_at = now
        return []

    def died(self, number: int, death: ExitStatus, now: float) -> list[Action]:
        """A worker's process is gone and its last events were heard."""
        worker = self._find(number)
        if worker is None:
            return []
        actions = [] if worker.is_given_up else self._mourn(worker, death)
        self._retire(worker)
        del self._leaving[worker.number]
        self._count(worker, now)
        self.reclaim.died(worker.number, now)
        return actions + self._dispatch(now)

    def tick(self, now: float) -> list[Action]:
        """Do what has become due."""
        actions: list[Action] = []
        for worker in self._workers():
            if now >= worker.due(self.limits):
                actions += self._overdue(worker, now)
        if now >= self.reclaim.due():
            wants = self.reclaim.wants_measure(now)
            actions += [QueryGpuMemory()] if wants else self._dispatch(now)
        return actions + self._make_standby(now)

    def measured(self, free: Free, now: float) -> list[Action]:
        """How much memory the GPUs have free."""
        self.reclaim.measured(free, now)
        return self._dispatch(now)

    def next_tick(self) -> float:
        """When `tick` has something to do, in the clock's seconds; infinity when nothing is due."""
        clocks = [worker.due(self.limits) for worker in self._workers()]
        return min([self._standby_due(), self.reclaim.due(), *clocks])

    # -------------------------------------------------------------- clocks

    def _overdue(self, worker: WorkerState, now: float) -> list[Action]:
        match worker.state:
            case State.KILLED:
                return self._give_up(worker, now)
            case State.QUITTING:
                return self._kill(worker, Reason("it did not leave when asked"), now)
            case State.BOOTING:
                return self._overslept(worker, now)
            case _ if worker.mute_at is not None and now >= worker.mute_at + self.limits.mute_s:
                cause = "it closed its event pipe and lived on"
                return self._kill(worker, Reason(cause, is_fault=True), now)
            case _:
                return self._run_is_overdue(worker, now)

    def _overslept(self, worker: WorkerState, now: float) -> list[Action]:
        """Like a boot failure: those who wait for it are told when it is dead."""
        if worker.looked_at is None:
            worker.looked_at = now
            return [DumpStack(worker.number)]
        worker.become(State.KILLED)
        worker.left_at = now
        worker.killed = Reason(
            f"it was not ready within {self.limits.boot_s:g} s", "boot", is_fault=True
        )
        return [Kill(worker.number)]

    def _run_is_overdue(self, worker: WorkerState, now: float) -> list[Action]:
        """Politely first; after the grace, one look at where it is stuck, and the kill."""
        job = worker.job
        if job is None:
            return []
        if job.is_condemned:
            return self._kill(worker, ON_REQUEST, now)
        if job.cancel_reason is None:
            clock: CancelReason = "stall" if job.executing_since is None else "deadline"
            return self.cancel(job.run_id, now, clock)
        grace_s = self.limits.grace_s
        if job.looked_at is None:
            job.looked_at = now
            expired = GraceExpired(job.run_id, grace_s, worker.pace.reload_s)
            return [Emit(expired), DumpStack(worker.number)]
        cause = f"it did not stop within {grace_s:g} s of being asked"
        return self._kill(worker, Reason(cause), now)

    def _give_up(self, worker: WorkerState, now: float) -> list[Action]:
        """SIGKILL did not help. Nobody waits for it any longer."""
        assert worker.killed is not None
        worker.is_given_up = True
        worker.killed = replace(worker.killed, cause=worker.killed.cause + UNDEAD)
        death = ExitStatus(worker.pid, -SIGKILL, oom_killed=False)
        return self._mourn(worker, death) + self._dispatch(now)

    # -------------------------------------------------------------- jobs

    def _dispatch(self, now: float) -> list[Action]:
        """Give waiting jobs to workers that are free."""
        actions: list[Action] = []
        if self._waiting and not self._closing:
            if self.active is None:
                actions += self._launch(now)
            is_free = self.active is not None and self.active.state is State.IDLE
            if self.active is not None and is_free and not self.reclaim.is_waiting:
                actions += self._assign(self.active, self._waiting.popleft(), now)
        if self._errands and not self._closing:
            actions += self._dispatch_errand(now)
        return actions

    def _dispatch_errand(self, now: float) -> list[Action]:
        workers = self._present()
        if not workers:
            self.standby.worker = self._new_worker(now, standby=True)
            return [Spawn(self.standby.worker.number)]
        free = next((worker for worker in workers if worker.state is State.IDLE), None)
        return self._assign(free, self._errands.popleft(), now) if free else []

    def _launch(self, now: float) -> list[Action]:
        """There is no active worker and one is needed: the standby, or else a new process."""
        job = self._waiting[0]
        job.launching = True
        actions: list[Action] = [Emit(Launching(job.run_id))]
        self.active = self.standby.promote()
        if self.active is None:
            self.active = self._new_worker(now, standby=False)
            actions.append(Spawn(self.active.number))
        self.reclaim.begin(self.active.number)
        return [*actions, QueryGpuMemory()]

    def _assign(self, worker: WorkerState, job: CommandState, now: float) -> list[Action]:
        actions: list[Action] = []
        if job.launching and not worker.announced:
            worker.announced = True
            actions.append(Emit(Launched(job.run_id, worker.pid, worker.was_standby)))
        if isinstance(job.command, Run) and (news := self.reclaim.take_warning()):
            actions.append(Emit(Warned(job.run_id, f"GPU memory is {news}")))
        worker.become(State.RUNNING)
        worker.job = job
        job.progressed_at = now
        return [*actions, Send(worker.number, job.command)]

    def _ended(
        self, worker: WorkerState, job: CommandState, event: Event, now: float
    ) -> list[Action]:
        """Its terminal event: the state changes first, so that whoever hears it can run at once."""
        if isinstance(event, RunCancelled) and job.cancel_reason in CLOCKS:
            event = timed_out(job, self.limits, keeps_models=True)
        worker.job = None
        actions: list[Action] = []
        if not worker.is_leaving:
            worker.become(State.IDLE)
        if isinstance(event, Failed) and event.fatal:
            poisoned = Reason("its CUDA context is beyond repair", "poisoned")
            actions += self._kill(worker, poisoned, now)
        actions.append(Emit(event))
        if worker is self.active and self.standby.due_at == NEVER and not self.standby.trouble:
            self.standby.wish(now + self.limits.standby_delay_s)
        return actions + self._dispatch(now)

    def _report(self, command: Report) -> list[Action]:
        worker = self._active()
        if not worker.greeted:
            raise WorkerLost("the worker is still starting")
        worker.asides.add(command.run_id)
        return [Send(worker.number, command)]

    def _active(self) -> WorkerState:
        if self.active is None or self.active.is_leaving:
            raise WorkerLost("no worker is running", hints=["a worker starts with the first run"])
        return self.active

    # -------------------------------------------------------------- lives and deaths

    def _greeted(self, worker: WorkerState, event: Ready, now: float) -> list[Action]:
        worker.pid = event.pid
        worker.beat_at = now
        if event.version != events.VERSION:
            return self._refuse(worker, event, now)
        if worker.is_leaving:
            return []
        worker.become(State.IDLE)
        self.standby.trouble = None
        return self._dispatch(now)

    def _refuse(self, worker: WorkerState, event: Ready, now: float) -> list[Action]:
        """The package was changed under a running shell; no other worker would understand it."""
        cause = (
            f"the worker speaks version {event.version} of the protocol and the shell version"
            f" {events.VERSION}: leave the shell and start it again"
        )
        stranded = [*self._waiting, *self._errands]
        self._waiting.clear()
        self._errands.clear()
        self.standby.give_up(cause)
        told = [Emit(Died(job.run_id, "version", cause, event.pid)) for job in stranded]
        return [*told, *self._kill(worker, Reason(cause, "version"), now)]

    def _quit(self, command: Shutdown, now: float) -> list[Action]:
        worker = self.active
        if worker is None:
            return [Emit(events.Exited(command.run_id))]
        worker.quits.append(command.run_id)
        self._retire(worker)
        if not worker.greeted or worker.job is not None:
            return self._kill(worker, Reason("the worker was stopped"), now)
        worker.become(State.QUITTING)
        worker.left_at = now
        return [Send(worker.number, command)]

    def _kill(self, worker: WorkerState, reason: Reason, now: float) -> list[Action]:
        if worker.state is State.KILLED:
            return []
        worker.become(State.KILLED)
        worker.left_at = now
        worker.killed = reason
        self._retire(worker)
        return [Kill(worker.number)]

    def _retire(self, worker: WorkerState) -> None:
        """It is leaving: its place is free, but it is not forgotten before it is dead."""
        self._leaving[worker.number] = worker
        if worker is self.active:
            self.active = None
        elif worker is self.standby.worker:
            self.standby.worker = None

    def _count(self, worker: WorkerState, now: float) -> None:
        """Restarts in a row, and when the next standby is due."""
        if self._closing or worker.state is State.QUITTING:
            return
        if worker.killed is None or worker.killed.is_fault:
            self.row.count(now - worker.born_at, self.limits)
        if not (worker.never_lived or self.standby.trouble):
            self.standby.wish(now + self.limits.standby_delay_s)

    def _mourn(self, worker: WorkerState, death: ExitStatus) -> list[Action]:
        """Tell everybody who waited for it."""
        was_active = worker is self.active
        self._retire(worker)
        actions: list[Action] = [Emit(e) for e in worker.obituaries(death, self.limits)]
        if worker.never_lived:
            actions += self._failed_boot(worker, death, was_active)
        return actions

    def _failed_boot(
        self, worker: WorkerState, death: ExitStatus, was_active: bool
    ) -> list[Action]:
        """It never came to life, and the next one would not either: nobody waits for it in vain."""
        self.standby.give_up(worker.killed.cause if worker.killed else death.cause)
        stranded = list(self._waiting) if was_active else []
        if self.active is None:
            stranded += self._errands
            self._errands.clear()
        if was_active:
            self._waiting.clear()
        return [Emit(worker.epitaph(job.run_id, death, self.limits)) for job in stranded]

    # -------------------------------------------------------------- the standby

    def _make_standby(self, now: float) -> list[Action]:
        if now < self._standby_due():
            return []
        first = self._next_worker == 1
        self.standby.due_at = NEVER
        self.standby.worker = self._new_worker(now, standby=True)
        # The first one is what the user waits for; a later one must not slow the worker down.
        return [Spawn(self.standby.worker.number, nice=0 if first else 10, is_spare=True)]

    def _standby_due(self) -> float:
        if self._closing or self.row.is_over(self.limits):
            return NEVER
        return self.standby.due(self.limits, self.active)

    # -------------------------------------------------------------- workers

    def _new_worker(self, now: float, *, standby: bool) -> WorkerState:
        worker = WorkerState(self._next_worker, now, was_standby=standby)
        self._next_worker += 1
        return worker

    def _present(self) -> list[WorkerState]:
        """Those that may get work, in the order in which errands look for one."""
        return [worker for worker in (self.standby.worker, self.active) if worker is not None]

    def _workers(self) -> list[WorkerState]:
        return [*self._present(), *self._leaving.values()]

    def _find(self, number: int) -> WorkerState | None:
        return next((worker for worker in self._workers() if worker.number == number), None)

    def _running(self, run_id: int) -> WorkerState | None:
        """The active worker, when that run is under way there and nobody has cancelled it."""
        worker = self.active
        if worker is None or worker.job is None or worker.job.run_id != run_id:
            return None
        return worker if worker.state is State.RUNNING else None
