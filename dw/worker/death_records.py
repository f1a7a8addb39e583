"""Death records: `run.json` of a run whose worker died before it could write the end."""

from __future__ import annotations

from pathlib import Path

from dw import run_record
from dw.events import Died, Event, RunTimedOut
from dw.worker.bounded import bounded


def record_death(folder: Path, end: Event, leaving: str | None = None) -> str | None:
    """Write into the record in `folder` that the run died, if `end` says so. Returns what prevented
    it. `leaving`: the program ended, for this cause, so that the run counts as cancelled.

    A thread writes, and is waited for only a moment: a disk that hangs must not block the shell.
    The record is then written when the disk responds again.
    """
    match end:
        case Died():
            cause, known = end.cause, (*end.tail, end.stack)
        case RunTimedOut(keeps_models=False):
            cause, known = f"killed: {end.cause}", (end.stack,)
        case _:
            return None  # the worker goes on: it has written the record itself
    state: run_record.RunStatus = "died"
    if leaving is not None:
        state, cause = "cancelled", f"cancelled: {leaving}; {cause}"

    trace = "\n".join(known).strip() or None

    def write() -> str | None:
        try:
            run_record.mark_ended(folder, state, cause=cause, last_step=end.last_step, trace=trace)
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error)
        return None

    trouble = bounded(write, "the disk does not respond")
    return trouble and f"{str(folder / run_record.RECORD)!r} does not record this death: {trouble}"
