"""Death records: `run.json` of a run whose worker died before it could write the end."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from dw import run_record
from dw.events import Died, Event, RunTimedOut

WRITE_LIMIT_S = 0.2  # a record is written in about a millisecond


def record_death(folder: Path, end: Event, leaving: str | None = None) -> str | None:
    """Write into the record in `folder` that the run died, if `end` says so. Returns what prevented
    it. `leaving`: the program ended, for this cause, so that the run counts as cancelled.

    A thread writes, and is waited for only a moment: a disk that hangs must not block the shell.
    The record is then written when the disk responds again.
    """
    match end:
        case Died():
            cause = end.cause
        case RunTimedOut(keeps_models=False):
            cause = f"killed: {end.cause}"
        case _:
            return None  # the worker goes on: it has written the record itself
    state: run_record.RunStatus = "died"
    if leaving is not None:
        state, cause = "cancelled", f"cancelled: {leaving}; {cause}"
    outcome: SimpleQueue[str | None] = SimpleQueue()

    def write() -> None:
        try:
            run_record.mark_ended(folder, state, cause=cause, last_step=end.last_step)
            outcome.put(None)
        except (OSError, ValueError) as error:
            outcome.put(getattr(error, "strerror", None) or str(error))

    threading.Thread(target=write, name="death-record", daemon=True).start()
    try:
        trouble = outcome.get(timeout=WRITE_LIMIT_S)
    except Empty:
        trouble = "the disk does not respond"
    return trouble and f"{str(folder / run_record.RECORD)!r} does not record this death: {trouble}"
