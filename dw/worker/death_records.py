"""Deaths of runs, entered in their records: the worker cannot do it any more."""

from __future__ import annotations

import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from dw import run_record
from dw.events import Died, Event, RunTimedOut

PATIENCE_S = 0.2  # an entry takes about a millisecond


def register(folder: Path, end: Event) -> str | None:
    """Have the record in `folder` tell of the death, if this end of a run is one, and return what
    kept us from it.

    A thread does it, and is waited for only a moment: a disk that hangs must not take the shell
    along. The entry is then made when the disk goes on.
    """
    if not isinstance(end, Died | RunTimedOut) or (cause := _cause(end)) is None:
        return None
    outcome: SimpleQueue[str | None] = SimpleQueue()

    def enter() -> None:
        outcome.put(_enter(folder, cause, end.last_step))

    threading.Thread(target=enter, name="registrar", daemon=True).start()
    try:
        trouble = outcome.get(timeout=PATIENCE_S)
    except Empty:
        trouble = "the disk does not answer"
    return trouble and f"{str(folder / run_record.RECORD)!r} does not tell of this death: {trouble}"


def _cause(end: Died | RunTimedOut) -> str | None:
    match end:
        case Died():
            return end.cause
        case RunTimedOut(keeps_models=True):
            return None  # it could be stopped, and its worker has written that
        case RunTimedOut():
            return f"killed: {end.cause}"


def _enter(folder: Path, cause: str, last_step: str | None) -> str | None:
    try:
        run_record.bury(folder, cause=cause, last_step=last_step)
    except (OSError, ValueError) as error:
        return getattr(error, "strerror", None) or str(error)
    return None
