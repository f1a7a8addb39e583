"""Run records: each run's folder has a `run.json`, which is complete at any time.

It is written when the run starts, with the state `running`. At the end the worker writes the
outcome, or the shell does if the worker died. A record that says `running` although its process has
ended was lost together with its shell.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from stat import S_ISREG
from types import NoneType
from typing import Any, Literal, get_args

from dw.atomic_files import replace_file
from dw.errors import ListRuns, UsageError
from dw.run_folders import folders_of, newest_folder

RunStatus = Literal["running", "finished", "cancelled", "failed", "died"]

RECORD = "run.json"
LARGEST = 64 << 20  # bytes; it holds the arguments, among them whole texts
LONGEST_S = 1e9  # of a timing, thirty years; no NaN is below it


_TEXT, _MAYBE = (str,), (str, NoneType)
_TYPES: Mapping[str, tuple[type, ...]] = {
    "path": _TEXT,
    "cause": _MAYBE,
    "last_step": _MAYBE,
    "started": _TEXT,
    "ended": _MAYBE,
    "host": _TEXT,
    "pid": (int,),
    "resolved_arguments": (dict,),
    "arguments": (dict,),
    "hidden": (list,),
    "sub_workflows": (dict,),
    "text_sha256": _TEXT,
    "trace": _MAYBE,
    "timings_s": (dict,),
    "steps": (list,),
    "outputs": (list,),
    "versions": (dict,),
}
"""Of what is read here. A record may lack some of them, and has more."""


# ------------------------------------------------------------------ one record


def write(folder: Path, facts: Mapping[str, Any]) -> None:
    """Replace a run's record. Raises OSError, and then the old one is unchanged."""
    text = json.dumps(facts, indent=2, ensure_ascii=False, default=repr)
    # A lone surrogate, which a name or a prompt may hold, has no UTF-8: it is escaped.
    replace_file(folder / RECORD, text.encode("utf-8", "backslashreplace"), mode=0o600)


def read(folder: Path) -> dict[str, Any]:
    """A run's record. Raises OSError, and ValueError when the file is not a record."""
    status = (folder / RECORD).stat()
    if not S_ISREG(status.st_mode):
        raise ValueError("not a file")  # a pipe would be waited for, a device never ends
    if status.st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST >> 20} MB")
    try:
        facts = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(facts, dict) or facts.get("state") not in get_args(RunStatus):
        raise ValueError("not a run record")
    if wrong := next(_of_another_type(facts), None):
        raise ValueError(f"not a run record: {wrong!r} has another type")
    return facts


def _of_another_type(facts: Mapping[str, Any]) -> Iterator[str]:
    """The names of values that are not what a run writes."""
    yield from (name for name in _TYPES if name in facts and type(facts[name]) not in _TYPES[name])
    if not 0 < facts.get("pid", 1) < 2**31:
        yield "pid"
    for seconds in facts.get("timings_s", {}).values():
        if type(seconds) not in (int, float) or not 0 <= seconds < LONGEST_S:
            yield "timings_s"
    for name, key in (("outputs", "path"), ("steps", "name")):
        for each in facts.get(name, ()):
            if not isinstance(each, dict) or type(each.get(key)) is not str:
                yield name


def mark_ended(
    folder: Path, state: RunStatus, *, cause: str, last_step: str | None, trace: str | None = None
) -> None:
    """Write how a run ended with its worker, unless its record already has its end. `trace`: the
    last that is known of the worker.

    Raises OSError and ValueError, as `read` and `write` do.
    """
    facts = read(folder)
    if facts["state"] == "running":
        end = {"state": state, "cause": cause, "last_step": last_step, "trace": trace}
        write(folder, {**facts, **end, "ended": now()})


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# ------------------------------------------------------------------ past runs


@dataclass(frozen=True, slots=True)
class Past:
    """A run that has started. `state` is the record's, or `lost` if it says `running` and that
    process has ended, or `unreadable`."""

    folder: Path
    state: str
    facts: Mapping[str, Any]

    @classmethod
    def of(cls, folder: Path, facts: Mapping[str, Any]) -> Past:
        return cls(folder, "lost" if _is_lost(facts) else facts["state"], facts)

    @property
    def number(self) -> str:
        """`0002`, which no other run below the output folder has."""
        return self.folder.name

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
    def arguments(self) -> Mapping[str, Any]:
        """The value of each variable, and the seed where no variable is named so."""
        found: Mapping[str, Any] = self.facts.get("resolved_arguments", {})
        seed = self.facts.get("seed")
        return found if seed is None or "seed" in found else {**found, "seed": seed}

    @property
    def files(self) -> list[Path]:
        """Its results; those of another name than the default lie elsewhere."""
        return [self.folder / output["path"] for output in self.facts.get("outputs", ())]

    def mentions(self, text: str) -> bool:
        """Whether its name, state, path, seed, cause or arguments contain `text`, ignoring case."""
        return text.casefold() in searched(self)


def searched(run: Past) -> str:
    """The text in which a search looks, in the case in which it compares."""
    keys = ("path", "seed", "cause", "resolved_arguments")
    values = [run.name, run.state, *(run.facts.get(key) for key in keys)]
    return json.dumps(values, ensure_ascii=False).casefold()


def read_past(folder: Path) -> Past | None:
    """The run with this folder; None when there is no record."""
    try:
        return Past.of(folder, read(folder))
    except (OSError, ValueError) as error:
        if not os.path.lexists(folder / RECORD):  # even a link that leads nowhere is a run
            return None
        cause = getattr(error, "strerror", None) or str(error)
        return Past.of(folder, {"state": "unreadable", "cause": f"{RECORD}: {cause}"})


def past(output_dir: Path) -> list[Past]:
    """Every run with a record, the newest last; `dw.run_index` does not read each of them anew."""
    found = [run for folder in output_dir.glob("*/*") if (run := read_past(folder))]
    return sorted(found, key=lambda run: (str(run.facts.get("started", "")), run.folder))


def find_past(output_dir: Path, word: str | None = None) -> Past:
    """The run that a user means: by its number, by `sd15/0002`, by the path of its folder or of a
    file in it; without a word the newest. Raises UsageError."""
    below = min(str(output_dir), os.path.relpath(output_dir), key=len)
    if word is None:
        newest = newest_folder(output_dir, RECORD)
        if newest is None or (run := read_past(newest)) is None:
            raise UsageError(f"no run found below {below}", hints=["run"])
        return run
    if word.isascii() and word.isdigit():
        found = [run for run in map(read_past, folders_of(output_dir, int(word))) if run]
    else:
        path = Path(word).expanduser()
        places = (output_dir / word, path, path.parent)
        found = [run for run in map(read_past, places) if run and not _is_root(run.folder)][:1]
    if not found:
        raise UsageError(
            f"there is no run {word!r} below {below}",
            hints=[ListRuns()],
        )
    if len(found) > 1:
        names = [run.name for run in found]
        raise UsageError(
            f"run {word} could be {' or '.join(names)}", hints=[f"{names[0]}   names one"]
        )
    return found[0]


def _is_root(folder: Path) -> bool:
    return folder.name in ("", ".", "..")


def _is_lost(facts: Mapping[str, Any]) -> bool:
    """Whether it says `running` and its process has ended; False for a run of another machine."""
    import platform

    import psutil

    started = _time(facts.get("started"))
    is_ours = facts.get("state") == "running" and facts.get("host") == platform.node()
    if not is_ours or started is None:
        return False
    try:
        process = psutil.Process(facts.get("pid"))
        is_reused = process.create_time() > started.timestamp()  # the pid, by another process
        return bool(is_reused or process.status() == psutil.STATUS_ZOMBIE)
    except psutil.Error as error:
        return isinstance(error, psutil.NoSuchProcess)


def _time(text: Any) -> datetime | None:
    with suppress(ValueError, TypeError, OverflowError):
        return datetime.fromisoformat(text).astimezone(UTC)
    return None
