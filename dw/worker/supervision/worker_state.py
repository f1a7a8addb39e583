"""One worker's life as the policy knows it: its state, what it serves, and how its end is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from dw.events import Died, Event, Exited, RunTimedOut
from dw.worker.process.stack import fold
from dw.worker.supervision.cost_estimates import CostEstimates

if TYPE_CHECKING:
    from dw.worker.process.exit_cause import ExitKind, ExitStatus
    from dw.worker.supervision.command_state import CommandState, Limits


NEVER = float("inf")


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


@dataclass(frozen=True, slots=True)
class Reason:
    """Why we killed a worker."""

    cause: str
    kind: ExitKind = "killed"
    is_fault: bool = False  # the worker's own: it counts as a crash


@dataclass(slots=True)
class WorkerState:
    number: int
    born_at: float
    was_standby: bool
    state: State = State.BOOTING
    pid: int = 0
    announced: bool = False
    job: CommandState | None = None
    asides: set[int] = field(default_factory=set)  # reports, answered beside the job
    quits: list[int] = field(default_factory=list)
    pace: CostEstimates = field(default_factory=CostEstimates)
    beat_at: float | None = None
    rss: int | None = None  # bytes, as of the last beat
    mute_at: float | None = None  # when its event pipe ended
    looked_at: float | None = None  # when a boot that takes too long was asked for its stack
    left_at: float = 0.0  # when it was asked to quit, or killed
    killed: Reason | None = None
    is_given_up: bool = False  # it was killed, and its process goes on

    def become(self, state: State) -> None:
        if state not in TRANSITIONS[self.state]:
            raise AssertionError(f"worker {self.number} cannot go from {self.state} to {state}")
        self.state = state

    @property
    def greeted(self) -> bool:
        return self.pid != 0

    @property
    def never_lived(self) -> bool:
        """Whether it ended before its greeting, and not because we wanted it to."""
        return not self.greeted and (self.killed is None or self.killed.kind == "boot")

    @property
    def is_leaving(self) -> bool:
        return self.state in (State.QUITTING, State.KILLED)

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
        """For how long its Python has given no sign of life."""
        since = self.beat_at if self.beat_at is not None else now
        return now - since

    def due(self, limits: Limits) -> float:
        """When the clock that now watches it expires."""
        match self.state:
            case State.KILLED:
                return NEVER if self.is_given_up else self.left_at + limits.death_s
            case State.QUITTING:
                return self.left_at + limits.quit_s
            case State.BOOTING if self.looked_at is not None:
                return self.looked_at + limits.last_look_s
            case State.BOOTING:
                return self.born_at + limits.boot_s
            case _:
                mute = NEVER if self.mute_at is None else self.mute_at + limits.mute_s
                return min(mute, self.job.expiry(limits) if self.job else NEVER)

    # -------------------------------------------------------------- its end

    def obituaries(self, death: ExitStatus, limits: Limits) -> list[Event]:
        """The terminal events of everything that it was serving; it owes nothing any more."""
        told: list[Event] = [Exited(run_id) for run_id in self.quits]
        if self.job is not None:
            told.append(self.epitaph(self.job.run_id, death, limits, self.job))
        told += [self.epitaph(run_id, death, limits) for run_id in sorted(self.asides)]
        self.job = None
        self.asides.clear()
        self.quits.clear()
        return told

    def epitaph(
        self, run_id: int, death: ExitStatus, limits: Limits, job: CommandState | None = None
    ) -> Event:
        """How a command ends with this death."""
        reason = self._reason(death)
        progress = job.last_step if job else None
        stack = death.stack
        stuck_at = fold(progress or "starting", stack) if self.killed and stack else None
        if job is not None and reason.kind == "killed" and job.cancel_reason in CLOCKS:
            return timed_out(job, limits, keeps_models=False, stack=stack, stuck_at=stuck_at)
        return Died(
            run_id,
            reason.kind,
            reason.cause,
            death.pid,
            last_step=progress,
            stack=stack,
            tail=death.tail,
            stuck_at=stuck_at,
        )

    def _reason(self, death: ExitStatus) -> Reason:
        """Ours, unless it died of something else before our kill arrived."""
        if self.killed and (death.was_killed or self.killed.kind == "poisoned"):
            return self.killed
        if not self.greeted:
            return Reason(f"{death.cause} before it was ready", "boot")
        return Reason(death.cause, death.kind)


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
