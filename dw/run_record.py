"""Run records: each run's folder has a `run.json`, which is complete at any time.

It is written when the run starts, with the state `running`. At the end the worker writes the
outcome, or the shell does if the worker died. A record that says `running` although its process has
ended was lost together with its shell.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

RunStatus = Literal["running", "finished", "cancelled", "failed", "died"]

RECORD = "run.json"


# ------------------------------------------------------------------ one record


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Replace a run's record. Raises OSError, and then the old one is unchanged."""
    beside = folder / f".{RECORD}.part"
    text = json.dumps(facts, indent=2, ensure_ascii=False, default=repr)
    try:
        # A lone surrogate, which a name or a prompt may hold, has no UTF-8: it is escaped.
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")
        beside.replace(folder / RECORD)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def read(folder: Path) -> dict[str, Any]:
    """A run's record. Raises OSError, and ValueError when the file is not a record."""
    facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    if not isinstance(facts, dict) or facts.get("state") not in get_args(RunStatus):
        raise ValueError("not a run record")
    return facts


def mark_ended(folder: Path, state: RunStatus, *, cause: str, last_step: str | None) -> None:
    """Write how a run ended with its worker, unless its record already has its end.

    Raises OSError and ValueError, as `read` and `write` do.
    """
    facts = read(folder)
    if facts["state"] == "running":
        end = {"state": state, "cause": cause, "last_step": last_step, "ended": now()}
        write(folder, {**facts, **end})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ------------------------------------------------------------------ all of them


@dataclass(frozen=True, slots=True)
class Past:
    """A run that has started. `number` counts them by their start, from 1.

    `state` is the record's, or `lost` if it says `running` and that process has ended, or
    `unreadable`.
    """

    number: int
    folder: Path
    state: str
    facts: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`sd15/0002`."""
        return f"{self.folder.parent.name}/{self.folder.name}"

    @property
    def started(self) -> datetime | None:
        return _time(self.facts.get("started"))

    @property
    def seconds(self) -> float | None:
        """From start to end, with all loading."""
        ended = _time(self.facts.get("ended"))
        return (ended - self.started).total_seconds() if ended and self.started else None

    @property
    def files(self) -> list[str]:
        """The names of its results within its folder."""
        return [output["path"] for output in self.facts.get("outputs", ())]

    def mentions(self, text: str) -> bool:
        """Whether its name, state, path, seed, cause or arguments contain `text`, ignoring case."""
        keys = ("path", "seed", "cause", "resolved_arguments")
        values = [self.name, self.state, *(self.facts.get(key) for key in keys)]
        return text.casefold() in json.dumps(values, ensure_ascii=False).casefold()


def past(output_dir: Path) -> list[Past]:
    """Every run with a record in the output folder, the newest last."""
    found: list[tuple[Path, dict[str, Any]]] = []
    for path in output_dir.glob(f"*/*/{RECORD}"):
        try:
            found.append((path.parent, read(path.parent)))
        except FileNotFoundError:
            pass  # it was deleted meanwhile
        except (OSError, ValueError) as error:
            found.append((path.parent, {"state": "unreadable", "cause": str(error)}))
    found.sort(key=lambda each: (str(each[1].get("started", "")), each[0]))
    return [
        Past(number, folder, "lost" if _is_lost(facts) else facts["state"], facts)
        for number, (folder, facts) in enumerate(found, start=1)
    ]


def _is_lost(facts: Mapping[str, Any]) -> bool:
    """Whether it says `running` and its process has ended; False for a run of another machine."""
    import platform

    import psutil

    started = _time(facts.get("started"))
    is_ours = facts["state"] == "running" and facts.get("host") == platform.node()
    if not is_ours or started is None:
        return False
    try:
        process = psutil.Process(facts.get("pid"))
        is_reused = process.create_time() > started.timestamp()  # the pid, by another process
        return bool(is_reused or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error as error:
        return isinstance(error, psutil.NoSuchProcess)


def _time(text: Any) -> datetime | None:
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(text)
    return None
