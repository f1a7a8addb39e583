"""Failures: an exception as the event `Failed`, in strings, which hold no tensors."""

from __future__ import annotations

import traceback
from dataclasses import replace

from dw.errors import DwError, told
from dw.events import Event, Failed, Warned
from dw.redaction import Secrets, redacted
from dw.refusals import refusal


def failed(run_id: int, error: BaseException) -> Failed:
    """The terminal event of a command that raised `error`."""
    trace = "".join(traceback.format_exception(error))
    if not isinstance(error, DwError):
        error = refusal(error) or error
    if not isinstance(error, DwError):
        return Failed(run_id, "bug", told(error, with_type=True), trace=trace)
    return Failed(
        run_id,
        error.kind,
        error.message,
        where=error.where,
        hints=error.hints,
        trace=trace,
        problems=getattr(error, "problems", ()),
        fatal=getattr(error, "fatal", False),
    )


def redacted_event(event: Event, secrets: Secrets) -> Event:
    """The event with the secrets in its messages replaced."""
    match event:
        case Warned():
            return replace(event, message=redacted(event.message, secrets))
        case Failed():
            return replace(
                event,
                message=redacted(event.message, secrets),
                where=redacted(event.where, secrets),
                hints=redacted(event.hints, secrets),
                trace=redacted(event.trace, secrets),
                problems=redacted(event.problems, secrets),
            )
        case _:
            return event
