"""The run history: each run's folder has its record, `run.json`, whole at any time.

It is there as soon as the run is taken up, and says `running`; in the end its worker writes what
became of it, or, when the worker has died, the shell does. One that still says `running` when
nothing runs was lost together with its shell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

State = Literal["running", "finished", "cancelled", "failed", "died"]

RECORD = "run.json"


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Replace a run's record. Raises OSError, and then the one that was there has stayed."""
    beside = folder / f".{RECORD}.part"
    text = json.dumps(facts, indent=2, ensure_ascii=False, default=repr)
    try:
        # Half of a surrogate pair, as a name or a prompt may hold, has no UTF-8, but an escape.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
        beside.replace(folder / RECORD)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any]:
    """Raises OSError, and ValueError for what is no record."""
    facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or facts.get("state") not in get_args(State):
        raise ValueError("it is no record of a run")
    return facts


def bury(folder: Path, *, cause: str, last_step: str | None) -> None:
    """Write that a run died with its worker, unless its record tells already how it ended.

    Raises what `read` and `write` do.
    """
    facts = read(folder)
    if facts["state"] == "running":
        end = {"state": "died", "cause": cause, "last_step": last_step, "ended": now()}
        write(folder, {**facts, **end})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
