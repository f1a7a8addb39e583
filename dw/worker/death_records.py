"""Death records: `run.json` of a run whose worker died before it could write the end."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from dw import run_record
from dw.events import Died, Event, RunTimedOut

WRITE_LIMIT_S = 0.2  # a record is written in about a millisecond


def record_death(folder: Path, end: Event) -> str | None:
    """Write into the record in `folder` that the run died, if `end` says so. Returns what prevented
    it.

    A thread writes, and is waited for only a moment: a disk that hangs must not block the shell.
    The record is then written when the disk responds again.
    """
    if not isinstance(end, Died | RunTimedOut) or (cause := _cause(end)) is None:
        return None
    outcome: SimpleQueue[str | None] = SimpleQueue()

    def write() -> None:
        outcome.put(_write(folder, cause, end.last_step))

    threading.Thread(target=write, name="death-record", daemon=True).start()
    try:
        trouble = outcome.get(timeout=WRITE_LIMIT_S)
    except Empty:
        trouble = "the disk does not respond"
    return trouble and f"{str(folder / run_record.RECORD)!r} does not record this death: {trouble}"


def _cause(end: Died | RunTimedOut) -> str | None:
    match end:
        case Died():
            return end.cause
        case RunTimedOut(keeps_models=True):
            return None  # the worker stopped the run and wrote the record itself
        case RunTimedOut():
            return f"killed: {end.cause}"


def _write(folder: Path, cause: str, last_step: str | None) -> str | None:
    try:
        run_record.mark_died(folder, cause=cause, last_step=last_step)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
