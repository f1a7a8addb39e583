"""How a command ended: the error, if any, that its terminal event stands for."""

from __future__ import annotations

from dw import events
from dw.errors import (
    EXIT_BUG,
    DwError,
    Interrupted,
    OutOfResources,
    RunFailed,
    TimedOut,
    UsageError,
    WorkerLost,
    WorkflowError,
)
from dw.events import Event
from dw.worker.process.stack import crash_site

KINDS: dict[str, type[DwError]] = {
    "usage": UsageError,
    "run": RunFailed,
    "resources": OutOfResources,
}


LOST = {"boot": "the worker could not start", "killed": "the worker is gone"}
RETRY = "retry   runs the very same again, on a new worker"
NEXT = {
    "boot": "trace   shows its last lines",
    "version": "exit",
    "oom-killer": 'a cheaper placement needs less: "offload": "model" in the workflow',
}
SAID_ALL = ("usage", "workflow")  # where the message needs no traceback
LAST_WORDS = 2
LONGEST_LINE = 120  # characters of its last words


class Bug(DwError):
    """Something in dw itself went wrong."""

    exit_code = EXIT_BUG


def failure(event: Event) -> DwError | None:
    """The error to raise for a terminal event; None when it is the answer that was asked for."""
    match event:
        case events.Failed():
            return _failed(event)
        case events.Died():
            return _died(event)
        case events.RunTimedOut():
            return _timed_out(event)
        case events.RunCancelled():
            return _cancelled(event)
        case _:
            return None


def trace(event: Event) -> str:
    """All that is known about a failure, for `trace`; empty when there is nothing to add."""
    match event:
        case events.Failed():
            return "" if event.kind in SAID_ALL else event.trace
        case events.Died():
            return "\n".join([*event.tail, event.stack]).strip()
        case events.RunTimedOut():
            return event.stack
        case _:
            return ""


def _failed(event: events.Failed) -> DwError:
    if event.kind == "workflow":
        return WorkflowError(
            event.message, problems=event.problems, hints=event.hints, where=event.where
        )
    return KINDS.get(event.kind, Bug)(event.message, hints=event.hints, where=event.where)


def _died(event: events.Died) -> DwError:
    """A handful of lines: what it died of, where it was, what it said, and what to do next."""
    lost = LOST.get(event.kind, "the worker died")
    error = WorkerLost(f"{lost}: {event.cause}", hints=[NEXT.get(event.kind, RETRY)])
    if event.last_step and not event.stuck_at:
        error.add_note(f"last step: {event.last_step}")
    if event.stuck_at:
        error.add_note(f"stuck at: {event.stuck_at}")
    elif site := crash_site(event.stack):
        error.add_note(f"crashed in: {site}")
    for line in event.tail[-LAST_WORDS:]:
        error.add_note(f"| {line[:LONGEST_LINE]}")
    return error


def _timed_out(event: events.RunTimedOut) -> DwError:
    models = "the models are kept" if event.keeps_models else "the models are lost"
    hints = {
        "stall": ["config stall=SECONDS   waits longer"],
        "deadline": [
            f"retry --timeout {2 * event.after_s:g}",
            "config timeout=SECONDS   for every run",
        ],
    }
    error = TimedOut(f"{event.cause}; {models}", hints=hints[event.clock], where=event.last_step)
    if event.stuck_at:
        error.add_note(f"stuck at: {event.stuck_at}")
    return error


def _cancelled(event: events.RunCancelled) -> DwError:
    models = "the models are kept" if event.keeps_models else "the models are lost"
    where = f"at step {event.step} of {event.steps}" if event.steps else "before the first step"
    return Interrupted(f"cancelled {where}; {models}")
