"""The state of a worker as the policy knows it, and the terminal events when it exits."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from dw.events import Died, Event, Exited, RunTimedOut
from dw.types import ExitKind
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.process.stack import summarize
from dw.worker.supervision.command_state import CommandState, Limits
from dw.worker.supervision.cost_estimates import CostEstimates

NEVER = float("inf")


class State(Enum):
    """STOPPING and KILLED end with the exit of the process."""

    BOOTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    CANCELLING = "cancelling"
    STOPPING = "stopping"
    KILLED = "killed"


TRANSITIONS = {
    State.BOOTING: {State.IDLE, State.STOPPING, State.KILLED},
    State.IDLE: {State.RUNNING, State.STOPPING, State.KILLED},
    State.RUNNING: {State.IDLE, State.CANCELLING, State.STOPPING, State.KILLED},
    State.CANCELLING: {State.IDLE, State.STOPPING, State.KILLED},
    State.STOPPING: {State.KILLED},
    State.KILLED: set(),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why we killed a worker."""

    cause: str
    kind: ExitKind = "killed"
    is_fault: bool = False  # the worker's own: it counts as a crash


@dataclass(slots=True)
class WorkerState:
    number: int
    started_at: float
    was_standby: bool
    state: State = State.BOOTING
    pid: int = 0
    announced: bool = False
    job: CommandState | None = None
    reports: set[int] = field(default_factory=set)  # run ids of `Report`, answered beside the job
    shutdowns: list[int] = field(default_factory=list)
    costs: CostEstimates = field(default_factory=CostEstimates)
    heartbeat_at: float | None = None
    rss: int | None = None  # bytes, as of the last heartbeat
    pipe_closed_at: float = NEVER  # its event pipe
    stack_requested_at: float | None = None  # of a boot that takes too long
    leaving_since: float = 0.0  # when it was asked to exit, or killed
    killed: Reason | None = None
    is_given_up: bool = False  # killed, and its process has not exited

    def become(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"worker {self.number} cannot go from {self.state} to {state}")
        self.state = state

    @property
    def is_ready(self) -> bool:
        return self.pid != 0

    @property
    def failed_to_start(self) -> bool:
        """Whether it ended before `Ready`, and not on our request."""
        return not self.is_ready and (self.killed is None or self.killed.kind == "boot")

    @property
    def is_leaving(self) -> bool:
        return self.state in (State.STOPPING, State.KILLED)

    @property
    def is_busy(self) -> bool:
        return self.job is not None or self.state is State.BOOTING

    @property
    def activity(self) -> str:
        """`gen: denoise step 14/30`, `loading gen.unet (2 of 5)`, or what state it is in."""
        if self.job is None:
            return self.state.value
        return self.job.last_step or f"serving {type(self.job.command).__name__.lower()}"

    def silence(self, now: float) -> float:
        """Seconds since its last heartbeat."""
        since = self.heartbeat_at if self.heartbeat_at is not None else now
        return now - since

    def due(self, limits: Limits) -> float:
        """When the clock that applies now expires."""
        match self.state:
            case State.KILLED:
                return NEVER if self.is_given_up else self.leaving_since + limits.exit_s
            case State.STOPPING:
                return self.leaving_since + limits.shutdown_s
            case State.BOOTING if self.stack_requested_at is not None:
                return self.stack_requested_at + limits.stack_s
            case State.BOOTING:
                return self.started_at + limits.boot_s
            case _:
                exit_due = self.pipe_closed_at + limits.closed_pipe_s
                return min(exit_due, self.job.expiry(limits) if self.job else NEVER)

    # -------------------------------------------------------------- its end

    def terminal_events(self, exit_status: ExitStatus, limits: Limits) -> list[Event]:
        """The terminal events of all its commands, which it then holds no more."""
        events: list[Event] = [Exited(run_id) for run_id in self.shutdowns]
        if self.job is not None:
            events.append(self.terminal_event(self.job.run_id, exit_status, limits, self.job))
        events += [
            self.terminal_event(run_id, exit_status, limits) for run_id in sorted(self.reports)
        ]
        self.job = None
        self.reports.clear()
        self.shutdowns.clear()
        return events

    def terminal_event(
        self, run_id: int, exit_status: ExitStatus, limits: Limits, job: CommandState | None = None
    ) -> Event:
        """How a command ends with this exit."""
        if self.killed and (exit_status.was_killed or self.killed.kind == "poisoned"):
            reason = self.killed  # otherwise it ended by itself before our kill arrived
        elif exit_status.start_error:
            reason = Reason(exit_status.start_error, "boot")
        elif not self.is_ready:
            reason = Reason(f"{exit_status.cause} before it was ready", "boot")
        else:
            reason = Reason(exit_status.cause, exit_status.kind)
        progress = job.last_step if job else None
        stack = exit_status.stack
        stuck_at = summarize(progress or "starting", stack) if self.killed and stack else None
        if job is not None and reason.kind == "killed" and job.cancel_reason in CLOCKS:
            return timed_out(job, limits, keeps_models=False, stack=stack, stuck_at=stuck_at)
        return Died(
            run_id,
            reason.kind,
            reason.cause,
            exit_status.pid,
            last_step=progress,
            stack=stack,
            tail=exit_status.tail,
            stuck_at=stuck_at,
        )


CLOCKS = ("deadline", "stall")


def timed_out(
    job: CommandState,
    limits: Limits,
    *,
    keeps_models: bool,
    stack: str = "",
    stuck_at: str | None = None,
) -> RunTimedOut:
    """The end of a run whose clock expired."""
    is_stall = job.cancel_reason == "stall"
    return RunTimedOut(
        job.run_id,
        "stall" if is_stall else "deadline",
        limits.stall_s if is_stall else job.timeout_s,
        keeps_models,
        job.last_step,
        stack,
        stuck_at,
    )


def clock_cause(job: CommandState, limits: Limits) -> str | None:
    """Which clock asked a run to stop, in words; none where the user did."""
    expired = job.cancel_reason in CLOCKS
    return timed_out(job, limits, keeps_models=True).cause if expired else None
