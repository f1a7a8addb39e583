"""The supervisor: a pure policy that takes what happened and returns the actions to take.

It starts no process, sends nothing and decides by no clock of its own; client.py carries out the
actions. Times are seconds of a monotonic clock.

There is at most one active worker and at most one standby, which has its imports done and becomes
active when a run needs a worker. Each command is a job; each accepted job gets exactly one terminal
event, whatever happens to its worker.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from dw import events
from dw.errors import WorkerLost
from dw.events import (
    Cancel,
    Check,
    Clear,
    Command,
    Event,
    Prepare,
    Report,
    Run,
    Shutdown,
    Stop,
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
UNKILLABLE = "; its process does not end: it waits in the kernel, most likely for the driver"


class Supervisor:
    """Each method returns the actions to take, in order."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.active: WorkerState | None = None
        self.standby = Standby()
        self.crashes = CrashCount()
        self.gpu_memory = GpuMemoryReturn()
        self._leaving: dict[int, WorkerState] = {}
        self._waiting: deque[CommandState] = deque()  # for the active worker
        self._background: deque[CommandState] = deque()  # for any free worker, the standby first
        self._next_worker = 1
        self._closing = False

    # -------------------------------------------------------------- requests of the shell

    def submit(self, command: Command, now: float, timeout_s: float = float("inf")) -> list[Action]:
        """Accept a command. Raises WorkerLost when it needs a running worker and there is none."""
        job = CommandState(command, timeout_s=timeout_s, progressed_at=now)
        match command:
            case Run():
                self._waiting.append(job)
            case Check() | Prepare():
                self._background.append(job)
            case Clear():
                self._active()
                self._waiting.append(job)
            case Report():
                worker = self._active()
                if not worker.is_ready:
                    raise WorkerLost("the worker is still starting")
                worker.reports.add(command.run_id)
                return [Send(worker.number, command)]
            case Shutdown():
                return self._shut_down(command, now)
            case Cancel():
                return self.cancel(command.run_id, now)
            case Stop():
                return self.stop(command.run_id)
        return self._dispatch(now)

    def cancel(
        self, run_id: int, now: float, reason: CancelReason = "user", cause: str | None = None
    ) -> list[Action]:
        """Ask a run to stop; no action if it is over, unknown or already asked.

        `leaving`, for `cause`, also replaces an earlier request, whose grace may be longer.
        """
        if waiting := next((job for job in self._waiting if job.run_id == run_id), None):
            self._waiting.remove(waiting)
            return [Emit(events.RunCancelled(run_id, 0, 0))]
        worker = self._executing(run_id)
        if worker is None or worker.job is None:
            return []
        if worker.state is State.RUNNING:
            worker.become(State.CANCELLING)
        elif reason != "leaving" or worker.job.cancel_reason == "leaving":
            return []
        worker.job.cancel_reason = reason
        worker.job.cancelled_at = now
        cause = cause or clock_cause(worker.job, self.limits)
        costs, grace_s = worker.costs, self.limits.grace_s
        return [
            Emit(
                events.CancelRequested(run_id, reason, grace_s, costs.step_s, costs.reload_s, cause)
            ),
            Send(worker.number, Cancel(run_id, cause)),
        ]

    def stop(self, run_id: int) -> list[Action]:
        """End the denoising of a run early; no action if it waits or was already asked."""
        worker = self._executing(run_id)
        is_running = worker is not None and worker.state is State.RUNNING
        if worker is None or worker.job is None or not is_running or worker.job.is_stopping:
            return []
        worker.job.is_stopping = True
        return [
            Emit(events.StopRequested(run_id, worker.costs.step_s)),
            Send(worker.number, Stop(run_id)),
        ]

    def kill(self, now: float) -> list[Action]:
        """Kill the active worker; its models are lost. The first request in a run dumps the stack
        before the kill, which follows after `stack_s`; a second one kills at once.
        """
        if self.active is None:
            return []
        job = self.active.job
        if job is None or not job.wants_stack:
            return self._kill(self.active, ON_REQUEST, now)
        job.kill_requested = True
        job.stack_requested_at = now
        return [DumpStack(self.active.number)]

    def limit(self, limits: Limits, now: float) -> list[Action]:
        """Use new limits, also for a run that is under way."""
        self.limits = limits
        if self.standby.worker is not None and not limits.standby:
            return self._kill(self.standby.worker, Reason("the standby was switched off"), now)
        self.standby.schedule(now)
        return []

    def close(self, now: float, cause: str = LEAVING.cause) -> list[Action]:
        """Kill the standby, cancel the run and shut the active worker down after it. Whatever else
        keeps that busy is killed, and a second call kills the run as well.
        """
        insists, self._closing = self._closing, True
        actions = self._kill(self.standby.worker, LEAVING, now) if self.standby.worker else []
        if self.active is None:
            return actions
        job = self.active.job
        if job is not None and isinstance(job.command, Run) and not insists:
            return actions + self.cancel(job.run_id, now, "leaving", cause)
        if job is not None or not self.active.is_ready:
            return actions + self._kill(self.active, LEAVING, now)
        return actions + self._shut_down(Shutdown(), now)

    def restarts_in_a_row(self, now: float) -> int:
        """Crashes one after the other, up to now."""
        stable_s = self.limits.stable_s
        is_stable = any(
            each.is_ready and now - each.started_at >= stable_s for each in self._available()
        )
        return 0 if is_stable else self.crashes.in_a_row

    @property
    def is_at_its_end(self) -> bool:
        """Whether the only processes left are those that a kill does not end."""
        return all(worker.is_given_up for worker in self._workers())

    # -------------------------------------------------------------- what has happened

    def event_received(self, number: int, event: Event, now: float) -> list[Action]:
        """An event of a worker. Those of no current command are dropped."""
        worker = self._find(number)
        if worker is None:
            return []
        match event:
            case events.Ready():
                return self._ready(worker, event, now)
            case events.Heartbeat():
                worker.heartbeat_at, worker.rss = now, event.rss
                return []
            case events.Reported() if event.run_id in worker.reports:
                worker.reports.discard(event.run_id)
                return [Emit(event)]
            case events.Exited():
                return []  # the exit of its process counts
            case _:
                pass
        if worker.job is None or event.run_id != worker.job.run_id:
            return []
        worker.job.update(event, now)
        worker.costs.update(event, now)
        if not isinstance(event, events.TERMINAL):
            return [Emit(event)]
        return self._command_ended(worker, worker.job, event, now)

    def output_received(self, number: int, lines: Sequence[str], now: float) -> list[Action]:
        """Lines that a worker printed. They count as progress of its job."""
        worker = self._find(number)
        if worker is None or worker.job is None or not lines:
            return []
        worker.job.progressed_at = now
        return [Emit(events.LogLine(worker.job.run_id, line)) for line in lines]

    def protocol_error(self, number: int, what: str, now: float) -> list[Action]:
        """A worker sent an invalid message; nothing after it can be trusted."""
        worker = self._find(number)
        return self._kill(worker, Reason(what, is_fault=True), now) if worker else []

    def event_pipe_closed(self, number: int, now: float) -> list[Action]:
        """A worker's event pipe has ended. If it does not exit soon, it is killed."""
        worker = self._find(number)
        if worker is not None and worker.pipe_closed_at == NEVER:
            worker.pipe_closed_at = now
        return []

    def exited(self, number: int, exit_status: ExitStatus, now: float) -> list[Action]:
        """A worker's process has exited, and its last events were received."""
        worker = self._find(number)
        if worker is None:
            return []
        actions = [] if worker.is_given_up else self._end_commands(worker, exit_status)
        self._retire(worker)
        del self._leaving[worker.number]
        if not self._closing and worker.state is not State.STOPPING:
            if worker.killed is None or worker.killed.is_fault:
                self.crashes.add(now - worker.started_at, self.limits)
            if not (worker.failed_to_start or self.standby.trouble):
                self.standby.schedule(now + self.limits.standby_delay_s)
        self.gpu_memory.exited(worker.number, now)
        return actions + self._dispatch(now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due."""
        actions: list[Action] = []
        for worker in self._workers():
            if now >= worker.due(self.limits):
                actions += self._overdue(worker, now)
        if now >= self.gpu_memory.due():
            wants = self.gpu_memory.wants_measurement(now)
            actions += [QueryGpuMemory()] if wants else self._dispatch(now)
        if now >= self._standby_due():
            # The user waits for the first one; a later one must not slow the active worker down.
            nice = 0 if self._next_worker == 1 else 10
            self.standby.due_at = NEVER
            self.standby.worker = self._new_worker(now, standby=True)
            actions.append(Spawn(self.standby.worker.number, nice=nice, is_spare=True))
        return actions

    def gpu_memory_measured(self, free: Free, now: float) -> list[Action]:
        """How much memory the GPUs have free."""
        self.gpu_memory.measured(free, now)
        return self._dispatch(now)

    def next_tick(self) -> float:
        """When `tick` has something to do; infinity when nothing is due."""
        clocks = [worker.due(self.limits) for worker in self._workers()]
        return min([self._standby_due(), self.gpu_memory.due(), *clocks])

    # -------------------------------------------------------------- clocks

    def _standby_due(self) -> float:
        if self._closing or self.crashes.is_exceeded(self.limits):
            return NEVER
        return self.standby.due(self.limits, self.active)

    def _overdue(self, worker: WorkerState, now: float) -> list[Action]:
        match worker.state:
            case State.KILLED:
                # SIGKILL had no effect: its commands end without its exit.
                assert worker.killed is not None
                worker.is_given_up = True
                worker.killed = replace(worker.killed, cause=worker.killed.cause + UNKILLABLE)
                exit_status = ExitStatus(worker.pid, -SIGKILL, oom_killed=False)
                return self._end_commands(worker, exit_status) + self._dispatch(now)
            case State.STOPPING:
                return self._kill(worker, Reason("it did not exit when asked"), now)
            case State.BOOTING if worker.stack_requested_at is None:
                worker.stack_requested_at = now
                return [DumpStack(worker.number)]
            case State.BOOTING:
                # As any failed boot, it ends its commands when the process has exited.
                worker.become(State.KILLED)
                worker.leaving_since = now
                cause = f"it was not ready within {self.limits.boot_s:g} s"
                worker.killed = Reason(cause, "boot", is_fault=True)
                return [Kill(worker.number)]
            case _ if now >= worker.pipe_closed_at + self.limits.closed_pipe_s:
                cause = "it closed its event pipe and did not exit"
                return self._kill(worker, Reason(cause, is_fault=True), now)
            case _:
                return self._run_is_overdue(worker, now)

    def _run_is_overdue(self, worker: WorkerState, now: float) -> list[Action]:
        """First a cancel; after the grace a stack, to see where it is stuck; then the kill."""
        job = worker.job
        if job is None:
            return []
        if job.kill_requested:
            return self._kill(worker, ON_REQUEST, now)
        if job.cancel_reason is None:
            clock: CancelReason = "stall" if job.executing_since is None else "deadline"
            return self.cancel(job.run_id, now, clock)
        grace_s = self.limits.grace_s
        if job.stack_requested_at is None:
            job.stack_requested_at = now
            expired = events.GraceExpired(job.run_id, grace_s, worker.costs.reload_s)
            return [Emit(expired), DumpStack(worker.number)]
        cause = f"it did not stop within {grace_s:g} s of being asked"
        return self._kill(worker, Reason(cause), now)

    # -------------------------------------------------------------- jobs

    def _dispatch(self, now: float) -> list[Action]:
        """Give waiting jobs to free workers."""
        actions: list[Action] = []
        if self._closing:
            return actions
        if self._waiting:
            if self.active is None:
                actions += self._launch(now)
            is_free = self.active is not None and self.active.state is State.IDLE
            if self.active is not None and is_free and not self.gpu_memory.is_waiting:
                actions += self._assign(self.active, self._waiting.popleft(), now)
        if self._background:
            workers = self._available()
            if not workers:
                self.standby.worker = self._new_worker(now, standby=True)
                actions.append(Spawn(self.standby.worker.number))
            elif free := next((each for each in workers if each.state is State.IDLE), None):
                actions += self._assign(free, self._background.popleft(), now)
        return actions

    def _launch(self, now: float) -> list[Action]:
        """A worker is needed and none is active: take the standby, or start a process."""
        job = self._waiting[0]
        job.launching = True
        actions: list[Action] = [Emit(events.Launching(job.run_id))]
        self.active = self.standby.promote()
        if self.active is None:
            self.active = self._new_worker(now, standby=False)
            actions.append(Spawn(self.active.number))
        self.gpu_memory.begin(self.active.number)
        return [*actions, QueryGpuMemory()]

    def _assign(self, worker: WorkerState, job: CommandState, now: float) -> list[Action]:
        actions: list[Action] = []
        if job.launching and not worker.announced:
            worker.announced = True
            actions.append(Emit(events.Launched(job.run_id, worker.pid, worker.was_standby)))
        if isinstance(job.command, Run) and (warning := self.gpu_memory.take_warning()):
            actions.append(Emit(events.Warned(job.run_id, f"GPU memory is {warning}")))
        worker.become(State.RUNNING)
        worker.job = job
        job.progressed_at = now
        return [*actions, Send(worker.number, job.command)]

    def _command_ended(
        self, worker: WorkerState, job: CommandState, event: Event, now: float
    ) -> list[Action]:
        """A job's terminal event. The state changes first, so that its reader can run at once."""
        if isinstance(event, events.RunCancelled) and job.cancel_reason in CLOCKS:
            event = timed_out(job, self.limits, keeps_models=True)
        worker.job = None
        actions: list[Action] = []
        if not worker.is_leaving:
            worker.become(State.IDLE)
        if isinstance(event, events.Failed) and event.fatal:
            poisoned = Reason("its CUDA context is beyond repair", "poisoned")
            actions += self._kill(worker, poisoned, now)
        actions.append(Emit(event))
        if worker is self.active and self._closing:
            return actions + self._shut_down(Shutdown(), now)
        if worker is self.active and self.standby.due_at == NEVER and not self.standby.trouble:
            self.standby.schedule(now + self.limits.standby_delay_s)
        return actions + self._dispatch(now)

    def _active(self) -> WorkerState:
        if self.active is None or self.active.is_leaving:
            raise WorkerLost("no worker is running", hints=["a worker starts with the first run"])
        return self.active

    # -------------------------------------------------------------- start and exit

    def _ready(self, worker: WorkerState, event: events.Ready, now: float) -> list[Action]:
        worker.pid = event.pid
        worker.heartbeat_at = now
        if event.version != events.VERSION:
            return self._refuse(worker, event, now)
        if worker.is_leaving:
            return []
        worker.become(State.IDLE)
        self.standby.trouble = None
        return self._dispatch(now)

    def _refuse(self, worker: WorkerState, event: events.Ready, now: float) -> list[Action]:
        """The package changed while the shell was running: every worker would be refused."""
        cause = (
            f"the worker speaks version {event.version} of the protocol and the shell version"
            f" {events.VERSION}: leave the shell and start it again"
        )
        stranded = [*self._waiting, *self._background]
        self._waiting.clear()
        self._background.clear()
        self.standby.give_up(cause)
        ends = [Emit(events.Died(job.run_id, "version", cause, event.pid)) for job in stranded]
        return [*ends, *self._kill(worker, Reason(cause, "version"), now)]

    def _shut_down(self, command: Shutdown, now: float) -> list[Action]:
        worker = self.active
        if worker is None:
            return [Emit(events.Exited(command.run_id))]
        worker.shutdowns.append(command.run_id)
        self._retire(worker)
        if not worker.is_ready or worker.job is not None:
            return self._kill(worker, Reason("the worker was stopped"), now)
        worker.become(State.STOPPING)
        worker.leaving_since = now
        return [Send(worker.number, command)]

    def _kill(self, worker: WorkerState, reason: Reason, now: float) -> list[Action]:
        if worker.state is State.KILLED:
            return []
        worker.become(State.KILLED)
        worker.leaving_since = now
        worker.killed = reason
        self._retire(worker)
        return [Kill(worker.number)]

    def _retire(self, worker: WorkerState) -> None:
        """Free its place. It is kept among the leaving workers until its process has exited."""
        self._leaving[worker.number] = worker
        if worker is self.active:
            self.active = None
        elif worker is self.standby.worker:
            self.standby.worker = None

    def _end_commands(self, worker: WorkerState, exit_status: ExitStatus) -> list[Action]:
        """Emit the terminal events of its commands, and of those that waited for its boot."""
        was_active = worker is self.active
        self._retire(worker)
        actions: list[Action] = [Emit(e) for e in worker.terminal_events(exit_status, self.limits)]
        if not worker.failed_to_start:
            return actions
        # The next process would fail too, so the commands that wait for one end here.
        self.standby.give_up(worker.killed.cause if worker.killed else exit_status.cause)
        stranded: list[CommandState] = []
        if was_active:
            stranded += self._waiting
            self._waiting.clear()
        if self.active is None:
            stranded += self._background
            self._background.clear()
        ends = [worker.terminal_event(job.run_id, exit_status, self.limits) for job in stranded]
        return actions + [Emit(end) for end in ends]

    # -------------------------------------------------------------- workers

    def _new_worker(self, now: float, *, standby: bool) -> WorkerState:
        worker = WorkerState(self._next_worker, now, was_standby=standby)
        self._next_worker += 1
        return worker

    def _available(self) -> list[WorkerState]:
        """Workers that may get a job, in the order in which background commands ask them."""
        return [worker for worker in (self.standby.worker, self.active) if worker is not None]

    def _workers(self) -> list[WorkerState]:
        return [*self._available(), *self._leaving.values()]

    def _find(self, number: int) -> WorkerState | None:
        return next((worker for worker in self._workers() if worker.number == number), None)

    def _executing(self, run_id: int) -> WorkerState | None:
        """The active worker, if it is executing that run."""
        worker = self.active
        is_executing = worker is not None and worker.job and worker.job.run_id == run_id
        return worker if is_executing else None
