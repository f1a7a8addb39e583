"""Failures: an exception as the event `Failed`, in strings, which hold no tensors."""

from __future__ import annotations

import traceback

from dw.errors import DwError, told
from dw.events import Failed
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
