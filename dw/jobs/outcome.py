"""Outcomes: follow a command to its terminal event, and turn a failure into an error."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dw import events
from dw.errors import (
    KINDS,
    DwError,
    Hint,
    Interrupted,
    RaiseStall,
    RaiseTimeout,
    Restart,
    RetryRun,
    SetTimeout,
    ShowTraceback,
    TimedOut,
    WorkerLost,
    WorkflowError,
)
from dw.events import TERMINAL, Event, TerminalEvent
from dw.jobs.worker import EventStream
from dw.worker.handle import Interrupt
from dw.worker.process.stack import crash_site

_LOST = {"boot": "the worker could not start", "killed": "the worker is gone"}
_AFTER_DEATH: dict[str, Hint] = {
    "boot": ShowTraceback(),
    "version": Restart(),
    "cut-file": "put the file right and run again; a new one is renamed into the place of one in "
    "use, not written over it",
    "oom-killer": 'a cheaper placement needs less: "offload": "model" in the workflow',
}
_WITHOUT_TRACE = ("usage", "workflow")  # kinds whose message is enough
_TAIL_LINES = 2  # of the worker's output
_LONGEST_LINE = 120  # characters of one of them


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended. `trace` is a traceback or stack that adds to the error."""

    event: TerminalEvent
    error: DwError | None
    trace: str = ""


def follow(
    stream: EventStream,
    *,
    on_event: Callable[[Event], None],
    on_interrupt: Callable[[], None],
    goes_on: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Wait for the end of a command. Returns its outcome.

    `on_event` gets every event, the terminal one included. `on_interrupt` is called when the user
    interrupts; what it raises ends the waiting, not the command. `goes_on`: whether the program
    does after a failure, so that it matters which models are kept.
    """
    for event in stream:
        if isinstance(event, Interrupt):
            on_interrupt()
            continue
        on_event(event)
        if isinstance(event, TERMINAL):
            return Outcome(event, _error(event, goes_on=goes_on()), _trace(event))
    raise AssertionError("a stream of events ends with a terminal one")


def _error(event: TerminalEvent, *, goes_on: bool) -> DwError | None:
    match event:
        case events.Failed():
            error = KINDS[event.kind](event.message, hints=event.hints, where=event.where)
            if isinstance(error, WorkflowError):
                error.problems = event.problems
            return error
        case events.Died():
            return _died(event)
        case events.RunTimedOut():
            return _timed_out(event, goes_on=goes_on)
        case events.RunCancelled():
            where = (
                f"at step {event.step} of {event.steps}" if event.steps else "before the first step"
            )
            return Interrupted(f"cancelled {where}{_fate_of_models(event) if goes_on else ''}")
        case _:
            return None


def _trace(event: TerminalEvent) -> str:
    """What is known about a failure besides its message: a traceback, last lines, a stack."""
    match event:
        case events.Failed():
            return "" if event.kind in _WITHOUT_TRACE else event.trace
        case events.Died():
            return "\n".join([*event.tail, event.stack]).strip()
        case events.RunTimedOut():
            return event.stack
        case _:
            return ""


def _died(event: events.Died) -> DwError:
    """At most five lines: the cause, the last step or the stack, the last lines, a remedy."""
    lost = _LOST.get(event.kind, "the worker died")
    hint = _AFTER_DEATH.get(event.kind, RetryRun())
    is_known = event.kind != "boot" or event.tail or event.stack
    error = WorkerLost(f"{lost}: {event.cause}", hints=[hint] if is_known else [])
    if event.last_step and not event.stuck_at:
        error.add_note(f"last step: {event.last_step}")
    if event.stuck_at:
        error.add_note(f"stuck at: {event.stuck_at}")
    elif site := crash_site(event.stack):
        error.add_note(f"crashed in: {site}")
    for line in event.tail[-_TAIL_LINES:]:
        error.add_note(f"| {line[:_LONGEST_LINE]}")
    return error


def _timed_out(event: events.RunTimedOut, *, goes_on: bool) -> DwError:
    remedies: dict[str, list[Hint]] = {
        "stall": [RaiseStall()],
        "deadline": [RaiseTimeout(2 * event.after_s), SetTimeout()],
    }
    message = event.cause + (_fate_of_models(event) if goes_on else "")
    error = TimedOut(message, hints=remedies[event.clock], where=event.last_step)
    if event.stuck_at:
        error.add_note(f"stuck at: {event.stuck_at}")
    return error


def _fate_of_models(event: events.RunTimedOut | events.RunCancelled) -> str:
    return f"; the models are {'kept' if event.keeps_models else 'lost'}"
