"""Watched files: wait until one of them has other content, and all are whole.

The system tells that something happened in their folders (watchdog); what that was, the files
themselves say. They are also looked at once in POLL_S, which is all that there is on a network file
system, or after their folder was replaced.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from dw.file_systems import TOLD, file_system
from dw.text_files import NotUtf8, read_text

POLL_S = 1.0
REST_S = 0.05
"""A file that is whole by its own words counts when it has not changed for so long."""
UNKNOWN_REST_S = 0.5
"""The same of one that does not say whether it is whole."""
PATIENCE_S = 30.0
"""A file that is not whole and has not changed for so long is one that is broken."""
LARGEST_READ = 1 << 28
"""Bytes. A larger file is compared by its size and time."""

_OF_MODELS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".json", ".txt", ".model"}
"""Ends of the names of files in a folder that count: a trainer writes logs there as well."""

_TORCH = {".bin", ".pt", ".pth", ".ckpt"}
_IMAGES = {".png", ".jpg", ".jpeg", ".webp"}

Facts = tuple[int, ...]
"""What tells a write of a file: its device, inode, size and times."""

Content = Mapping[Path, str]
"""Of each file that is there: a digest of what it means."""


@dataclass(slots=True)
class _Rest:
    """Since when a file is as it is, and how long it must be so."""

    facts: Facts
    since: float
    needed_s: float | None = None


class WatchedFiles:
    """A context. `follow` says which files; a folder stands for the files in it."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: tuple[Path, ...] = ()
        self._known: dict[Path, tuple[Facts, str]] = {}
        self._resting: dict[Path, _Rest] = {}
        self._stirred = threading.Event()
        self._ends = threading.Event()
        self._observer: Any = None
        self._watches: dict[Path, Any] = {}

    def __enter__(self) -> Self:
        from watchdog.observers import Observer

        self._observer = Observer()
        self._observer.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._observer.stop()
        self._observer.join()

    def follow(self, places: Iterable[Path]) -> None:
        self._places = tuple(dict.fromkeys(place.absolute() for place in places))

    def end(self) -> None:
        """Let `changed` return. For any thread, and a signal handler."""
        self._ends.set()
        self._stirred.set()

    def unseen(self) -> dict[Path, str]:
        """Places whose file system may not tell of a change, and its type."""
        kinds = {place: file_system(place) for place in self._places}
        return {place: kind for place, kind in kinds.items() if kind and kind not in TOLD}

    def content(self) -> Content:
        """Of all files as they are now."""
        return {path: self._digest(path, facts) for path, facts in self._stats().items()}

    def changed(self, before: Content) -> Content | None:
        """Wait until a file has another content than `before`, or is new, and all are whole.
        Returns the content of all; None after `end`. A file that is gone is waited for."""
        while not self._ends.is_set():
            self._stirred.clear()
            self._observe()
            if not self._rest():
                return None
            now = self.content()
            if any(before.get(path) != digest for path, digest in now.items()):
                return now
            self._stirred.wait(POLL_S)
        return None

    def _rest(self) -> bool:
        """Wait until all files are whole and rest. False after `end`."""
        while not self._ends.is_set():
            fresh = [each for each in self._stats().items() if self._is_new(*each)]
            if not [path for path, facts in fresh if not self._rests(path, facts)]:
                return True
            self._ends.wait(REST_S / 2)
        return False

    def _rests(self, path: Path, facts: Facts) -> bool:
        now, rest = self._clock(), self._resting.get(path)
        if rest is None or rest.facts != facts:
            rest = self._resting[path] = _Rest(facts, now)
        if now - rest.since < REST_S:
            return False
        if rest.needed_s is None:
            rest.needed_s = _needed_s(path)
        return now - rest.since >= rest.needed_s

    def _is_new(self, path: Path, facts: Facts) -> bool:
        return path not in self._known or self._known[path][0] != facts

    def _stats(self) -> Mapping[Path, Facts]:
        found = {}
        for path in self._files():
            with suppress(OSError):
                facts = path.stat()
                if stat.S_ISREG(facts.st_mode):
                    found[path] = (
                        facts.st_dev,
                        facts.st_ino,
                        facts.st_size,
                        facts.st_mtime_ns,
                        facts.st_ctime_ns,
                    )
        return found

    def _files(self) -> Iterator[Path]:
        for place in self._places:
            if not place.is_dir():
                yield place
                continue
            for folder, names, files in os.walk(place):
                names[:] = [name for name in names if not name.startswith(".")]
                paths = (Path(folder, name) for name in files if not name.startswith("."))
                yield from (path for path in paths if path.suffix in _OF_MODELS)

    def _digest(self, path: Path, facts: Facts) -> str:
        if self._is_new(path, facts):
            try:
                self._known[path] = facts, _digest(path, facts)
            except OSError:  # gone meanwhile
                return ""
        return self._known[path][1]

    def _observe(self) -> None:
        """Have the system tell of changes below the places, and in the folders of files. A folder
        that is gone is asked for again when it is there."""
        from watchdog.events import FileSystemEvent, FileSystemEventHandler

        stirred = self._stirred

        class Handler(FileSystemEventHandler):
            def on_any_event(self, event: FileSystemEvent) -> None:
                if event.event_type not in ("opened", "closed_no_write"):
                    stirred.set()

        wanted: dict[Path, bool] = {}
        for place in self._places:
            is_folder = place.is_dir()
            folder = place if is_folder else place.parent
            while not folder.is_dir() and folder != folder.parent:
                folder, is_folder = folder.parent, False
            wanted[folder] = wanted.get(folder, False) or is_folder
        for folder in [*self._watches]:
            inode, watch = self._watches[folder]
            if folder not in wanted or _inode(folder) != inode:
                with suppress(OSError, KeyError):
                    self._observer.unschedule(watch)
                del self._watches[folder]
        for folder, is_recursive in wanted.items():
            if folder not in self._watches:
                with suppress(OSError):  # as a limit of the user: it is looked at every POLL_S
                    watch = self._observer.schedule(Handler(), str(folder), recursive=is_recursive)
                    self._watches[folder] = _inode(folder), watch


def _inode(folder: Path) -> int | None:
    try:
        return folder.stat().st_ino
    except OSError:
        return None


def _digest(path: Path, facts: Facts) -> str:
    """Of a JSON file that of its meaning, so that blanks and comments do not count."""
    if facts[2] > LARGEST_READ:
        return f"{facts[2]} {facts[3]}"
    if path.suffix == ".json" and (data := _json(path)) is not None:
        return hashlib.blake2b(json.dumps(data).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _needed_s(path: Path) -> float:
    """How long the file must have rested."""
    whole = _is_whole(path)
    if whole is None:
        return UNKNOWN_REST_S
    return REST_S if whole else PATIENCE_S


def _is_whole(path: Path) -> bool | None:
    """Whether the file says itself that nothing of it is missing; None where it cannot say."""
    try:
        if path.suffix == ".json":
            return None if path.stat().st_size and _json(path) is None else _json(path) is not None
        if path.suffix == ".safetensors":
            return _has_all_tensors(path)
        if path.suffix in _TORCH:
            return zipfile.is_zipfile(path)
        if path.suffix.lower() in _IMAGES:
            from dw.pixels import allowing, open_image  # PIL, which the prompt starts without

            with allowing(), open_image(path) as image:
                image.load()
            return True
    except (OSError, ValueError, SyntaxError):
        return False
    return None


def _json(path: Path) -> Any:
    """None for what is not JSON."""
    from dw.workflow.jsonc import JsonError, parse_json

    try:
        return parse_json(read_text(path)).data
    except (OSError, NotUtf8, JsonError):
        return None


def _has_all_tensors(path: Path) -> bool:
    """Whether it is as long as its header says. Format: huggingface.co/docs/safetensors"""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
        if length > size - 8:
            return False
        header = json.loads(file.read(length))
    ends = [each["data_offsets"][1] for name, each in header.items() if name != "__metadata__"]
    return bool(size == 8 + length + max(ends, default=0))
