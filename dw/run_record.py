"""The run history: each run's folder has its record, `run.json`, whole at any time.

It is there as soon as the run is taken up, and says `running`; in the end its worker writes what
became of it, or, when the worker has died, the shell does. One that still says `running` when
nothing runs was lost together with its shell.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

RunStatus = Literal["running", "finished", "cancelled", "failed", "died"]

RECORD = "run.json"


# ------------------------------------------------------------------ one record


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
    if not isinstance(facts, dict) or facts.get("state") not in get_args(RunStatus):
        raise ValueError("it is no record of a run")
    return facts


def mark_died(folder: Path, *, cause: str, last_step: str | None) -> None:
    """Write that a run died with its worker, unless its record tells already how it ended.

    Raises what `read` and `write` do.
    """
    facts = read(folder)
    if facts["state"] == "running":
        end = {"state": "died", "cause": cause, "last_step": last_step, "ended": now()}
        write(folder, {**facts, **end})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ------------------------------------------------------------------ all of them


@dataclass(frozen=True, slots=True)
class Past:
    """A past run, or one that runs. `number` counts them as they were begun, from 1.

    `state` is the record's, or `lost` where it says `running` and that process is gone, or
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
        """From its beginning to its end, with all loading."""
        ended = _time(self.facts.get("ended"))
        return (ended - self.started).total_seconds() if ended and self.started else None

    @property
    def files(self) -> list[str]:
        """The names of its results, in its folder."""
        return [output["path"] for output in self.facts.get("outputs", ())]

    def mentions(self, text: str) -> bool:
        """Whether it stands in its name, state, seed, cause or arguments, in any case."""
        told = [self.facts.get(key) for key in ("path", "seed", "cause", "resolved_arguments")]
        told_text = json.dumps([self.name, self.state, *told], ensure_ascii=False)
        return text.casefold() in told_text.casefold()


def past(output_dir: Path) -> list[Past]:
    """Every run that has a record below the output folder, the newest last."""
    found = sorted(
        _records(output_dir), key=lambda each: (str(each[1].get("started", "")), each[0])
    )
    return [
        Past(number, folder, _state(facts), facts)
        for number, (folder, facts) in enumerate(found, start=1)
    ]


def _records(output_dir: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in output_dir.glob(f"*/*/{RECORD}"):
        try:
            yield path.parent, read(path.parent)
        except FileNotFoundError:
            pass  # it was deleted at this moment
        except (OSError, ValueError) as error:
            yield path.parent, {"state": "unreadable", "cause": str(error)}


def _state(facts: Mapping[str, Any]) -> str:
    return "lost" if facts["state"] == "running" and _is_gone(facts) else facts["state"]


def _is_gone(facts: Mapping[str, Any]) -> bool:
    """Whether the process of a run has ended, as far as this machine knows."""
    import platform

    import psutil

    started = _time(facts.get("started"))
    if facts.get("host") != platform.node() or started is None:
        return False
    try:
        process = psutil.Process(facts.get("pid"))
        is_another = process.create_time() > started.timestamp()  # of the same number
        return bool(is_another or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error as error:
        return isinstance(error, psutil.NoSuchProcess)


def _time(text: Any) -> datetime | None:
    with suppress(ValueError, TypeError):
        return datetime.fromisoformat(text)
    return None
