"""The index of past runs: what `history` lists and searches, so that it need not read all records.

It is made from the records, and made again where they differ from it: a record is known by the time
of its last write, its size and its inode. So it may be deleted at any time. It lies in the user's
cache, as the output folder may be on a network or written by others.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from dw.run_record import RECORD, Past, read_past, searched
from dw.settings import cache_dir

_VERSION = 1
_KEPT = (
    *("state", "path", "workflow", "started", "ended", "host", "pid", "seed", "cause", "outputs"),
    "resolved_arguments",
)
_TABLE = """
CREATE TABLE run (
  name TEXT PRIMARY KEY, stamp TEXT, started TEXT, path TEXT, state TEXT, facts TEXT, words TEXT
);
CREATE INDEX by_start ON run (started, name);
CREATE INDEX by_path ON run (path, started);
"""


class RunIndex:
    """The runs below an output folder, as their records are now."""

    def __init__(self, output_dir: Path) -> None:
        self._output_dir = output_dir
        self._db = _opened(output_dir)
        try:
            self._update()
        except sqlite3.Error:  # another program writes, or the disk is full
            self._db = _in_memory()
            self._update()

    def close(self) -> None:
        self._db.close()

    def __enter__(self) -> RunIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def search(self, texts: Sequence[str] = (), most: int | None = None) -> tuple[list[Past], int]:
        """The newest runs that mention all of the texts, the oldest of them first, and how many
        there are in all."""
        # Whether a run that says `running` is lost is seen only now.
        where = " AND ".join(["(state = 'running' OR instr(words, ?))"] * len(texts)) or "1"
        words = [text.casefold() for text in texts]
        rows = self._db.execute(
            f"SELECT name, facts, state FROM run WHERE {where} ORDER BY started DESC, name DESC",
            words,
        )
        found: list[Past] = []
        total = 0
        for name, facts, state in rows:
            run = None if state != "running" else self._past(name, facts)
            if run is None or all(map(run.mentions, texts)):
                total += 1
                if most is None or len(found) < most:
                    found.append(run or self._past(name, facts))
        return found[::-1], total

    def before(self, run: Past) -> Past | None:
        """The run of the same workflow before this one."""
        row = self._db.execute(
            "SELECT name, facts FROM run WHERE path = ? AND (started, name) < (?, ?)"
            " ORDER BY started DESC, name DESC LIMIT 1",
            (str(run.facts.get("path", "")), str(run.facts.get("started", "")), run.name),
        ).fetchone()
        return None if row is None else self._past(*row)

    def _past(self, name: str, facts: str) -> Past:
        return Past.of(self._output_dir / name, json.loads(facts))

    def _update(self) -> None:
        with self._db:
            known = dict(self._db.execute("SELECT name, stamp FROM run"))
            found = dict(_stamps(self._output_dir))
            changed = [name for name, stamp in found.items() if known.get(name) != stamp]
            rows = [self._row(name, found[name]) for name in changed]
            gone = [(name,) for name in known if name not in found]
            self._db.executemany("DELETE FROM run WHERE name = ?", gone)
            self._db.executemany(
                "INSERT OR REPLACE INTO run VALUES (?, ?, ?, ?, ?, ?, ?)", filter(None, rows)
            )

    def _row(self, name: str, stamp: str) -> tuple[str, ...] | None:
        if (run := read_past(self._output_dir / name)) is None:
            return None  # it was deleted meanwhile
        facts: dict[str, Any] = {key: run.facts[key] for key in _KEPT if key in run.facts}
        facts["outputs"] = [{"path": path["path"]} for path in facts.get("outputs", ())]
        texts = (
            name,
            stamp,
            str(facts.get("started", "")),
            str(facts.get("path", "")),
            str(facts["state"]),
            json.dumps(facts),
            searched(run),
        )
        return tuple(text.encode("utf-8", "backslashreplace").decode() for text in texts)


def _stamps(output_dir: Path) -> Iterator[tuple[str, str]]:
    """The name of each folder with a record, and what changes when the record does."""
    with suppress(FileNotFoundError, NotADirectoryError):
        for parent in os.scandir(output_dir):
            if not parent.is_dir():
                continue
            with suppress(PermissionError, FileNotFoundError):
                for name in os.listdir(parent.path):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        yield f"{parent.name}/{name}", _stamp(f"{parent.path}/{name}/{RECORD}")


def _stamp(path: str) -> str:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        os.lstat(path)
        return "a link that leads nowhere"
    except (PermissionError, OSError) as error:
        if isinstance(error, NotADirectoryError):
            raise
        return f"errno {error.errno}"
    return f"{status.st_mtime_ns} {status.st_size} {status.st_ino}"


def _opened(output_dir: Path) -> sqlite3.Connection:
    name = hashlib.sha256(os.fsencode(output_dir.resolve())).hexdigest()[:16]
    path = cache_dir() / "runs" / f"{name}.sqlite"
    for _ in range(2):
        with suppress(sqlite3.Error, OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_CREAT | os.O_EXCL, 0o600))  # it has the prompts
            return _prepared(sqlite3.connect(path))
        with suppress(OSError):  # damaged, or of another version
            path.unlink()
    return _in_memory()


def _in_memory() -> sqlite3.Connection:
    return _prepared(sqlite3.connect(":memory:"))


def _prepared(db: sqlite3.Connection) -> sqlite3.Connection:
    """Raises sqlite3.Error for a file of another kind or version."""
    try:
        with db:
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                for statement in filter(str.strip, _TABLE.split(";")):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {_VERSION}")
            elif version != _VERSION:
                raise sqlite3.DatabaseError("another version")
    except sqlite3.Error:
        db.close()
        raise
    return db
