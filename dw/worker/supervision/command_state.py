"""The state of a command until its terminal event, and the clocks of a run.

The *deadline* counts the execution and pauses while models load. The *stall* limit applies while
they load and restarts with every sign of progress. When one of them expires, or the user cancels,
the run has its *grace* to stop by itself; then its worker is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dw.events import Command, Event, Executing, Loading, Run, Stepped, StepStarted

CancelReason = Literal["user", "deadline", "stall", "leaving"]
"""`leaving`: the program ends, and its run with it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """In seconds, except `restarts`."""

    stall_s: float = 600.0
    grace_s: float = 10.0
    stack_s: float = 0.1  # for a stack, which takes 1 ms, before the kill
    boot_s: float = 120.0  # imports take 4 to 14 s
    shutdown_s: float = 2.0  # an exit on request takes 0.06 s
    exit_s: float = 5.0  # the driver may hold a killed process for about a second
    closed_pipe_s: float = 2.0  # from the end of the event pipe to the exit that caused it
    silence_s: float = 2.0  # without a heartbeat; there are two a second
    standby_delay_s: float = 1.0  # its imports must not slow the next run of a busy script
    restarts: int = 5  # after crashes in a row; then only a run starts a process
    stable_s: float = 10.0  # a worker that stays up so long resets the count
    standby: bool = True


@dataclass(slots=True)
class CommandState:
    command: Command
    timeout_s: float = float("inf")
    launching: bool = False
    executing_since: float | None = None
    executed_s: float = 0.0
    progressed_at: float = 0.0
    is_stopping: bool = False
    cancel_reason: CancelReason | None = None
    cancelled_at: float = 0.0
    stack_requested_at: float | None = None  # the kill follows
    kill_requested: bool = False  # by the user, whatever the clocks say
    last_step: str | None = None

    @property
    def run_id(self) -> int:
        return self.command.run_id

    @property
    def wants_stack(self) -> bool:
        """Whether a stack is of use, and was not requested yet."""
        return isinstance(self.command, Run) and self.stack_requested_at is None

    def update(self, event: Event, now: float) -> None:
        """Move the clocks and remember the last progress."""
        self.progressed_at = now
        match event:
            case Executing():
                self.executing_since = now
            case Loading():
                if self.executing_since is not None:
                    self.executed_s += now - self.executing_since
                    self.executing_since = None
                self.last_step = f"loading {event.component} ({event.index} of {event.total})"
            case StepStarted():
                self.is_stopping = False  # a stop ends the denoising of one workflow step
                self.last_step = f"step {event.name}"
            case Stepped():
                unit = "denoise step" if event.phase == "denoise" else event.phase
                self.last_step = f"{event.name}: {unit} {event.position}"
            case _:
                pass

    def deadline(self) -> float:
        """When the execution time is used up; never while the clock is paused."""
        if self.executing_since is None:
            return float("inf")
        return self.executing_since + self.timeout_s - self.executed_s

    def expiry(self, limits: Limits) -> float:
        """When the clock that applies now expires."""
        if not isinstance(self.command, Run):
            return float("inf")
        if self.stack_requested_at is not None:
            return self.stack_requested_at + limits.stack_s
        stall_end = self.progressed_at + limits.stall_s
        if self.cancel_reason is None:
            return stall_end if self.executing_since is None else self.deadline()
        grace_end = self.cancelled_at + limits.grace_s
        if self.executing_since is None and self.cancel_reason == "user":
            # A load can only stop between components: wait for the next one while it progresses.
            return max(grace_end, stall_end)
        return grace_end
