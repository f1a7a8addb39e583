"""A job: a command on its way to its terminal event, and the clocks that watch a run.

The *deadline* counts the execution and stands still while models load; the *stall* limit watches
the loading and starts anew with every sign of progress; when one of them, or the user, asks for a
stop, the run has its *grace* to stop politely, after which its worker is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dw.events import Command, Event, Executing, Loading, Run, Stepped, StepStarted

CancelReason = Literal["user", "deadline", "stall"]


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds but the count."""

    stall_s: float = 600.0
    grace_s: float = 10.0
    last_look_s: float = 0.1  # for the stack of a worker, 1 ms if it gives one, before it is killed
    boot_s: float = 120.0  # imports take 4 to 14 s
    quit_s: float = 2.0  # a polite exit takes 0.06 s
    death_s: float = 5.0  # the driver may hold a killed process for about a second
    mute_s: float = 2.0  # between the end of its event pipe and its death, which closes that too
    silence_s: float = 2.0  # without a beat, of which there are two a second
    standby_delay_s: float = 1.0  # its imports must not slow the next run of a busy script
    restarts: int = 5  # unasked, in a row; then only a run starts a process
    stable_s: float = 10.0  # a worker that lived so long ends the row
    standby: bool = True


@dataclass(slots=True)
class CommandState:
    """A command on its way to its terminal event, with the clocks of a run."""

    command: Command
    timeout_s: float = float("inf")
    launching: bool = False
    executing_since: float | None = None
    executed_s: float = 0.0
    progressed_at: float = 0.0
    is_stopping: bool = False
    cancel_reason: CancelReason | None = None
    cancelled_at: float = 0.0
    looked_at: float | None = None  # when its stack was asked for: its worker's kill is next
    is_condemned: bool = False  # the user had enough of it, whatever the clocks say
    last_step: str | None = None

    @property
    def run_id(self) -> int:
        return self.command.run_id

    @property
    def can_be_looked_at(self) -> bool:
        """Whether a look at where it is stuck was not taken yet and would tell something."""
        return isinstance(self.command, Run) and self.looked_at is None

    def hear(self, event: Event, now: float) -> None:
        """Move the clocks and remember the last progress."""
        self.progressed_at = now
        match event:
            case Executing():
                self.executing_since = now
            case Loading():
                self._pause(now)
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
        """When the execution will have taken its time; never while it stands still."""
        if self.executing_since is None:
            return float("inf")
        return self.executing_since + self.timeout_s - self.executed_s

    def expiry(self, limits: Limits) -> float:
        """When the clock that now watches this job expires."""
        if not isinstance(self.command, Run):
            return float("inf")
        if self.looked_at is not None:
            return self.looked_at + limits.last_look_s
        if self.cancel_reason is not None:
            return self._grace_end(limits)
        if self.executing_since is None:
            return self.progressed_at + limits.stall_s
        return self.deadline()

    def _grace_end(self, limits: Limits) -> float:
        if self.executing_since is None and self.cancel_reason == "user":
            # A load can only stop between components; as long as it moves, let it come to one.
            return max(self.cancelled_at + limits.grace_s, self.progressed_at + limits.stall_s)
        return self.cancelled_at + limits.grace_s

    def _pause(self, now: float) -> None:
        if self.executing_since is not None:
            self.executed_s += now - self.executing_since
            self.executing_since = None
