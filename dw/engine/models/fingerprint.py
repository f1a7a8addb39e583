"""Fingerprints: what stands for the bytes of files, and whether they are still the same.

Weights are told by the stat of their file, behind all links: its device and inode, its size, and
the times of its last write and of the last change of its inode. No program can set the last one, so
that a file whose size and times are put back is another one all the same. The name of a hub's blob
is a hash of what was downloaded, not of what is there, and does not count. Small files are told by
their content.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from dw.errors import RetryRun, RunFailed
from dw.types import FileState
from dw.workflow.paths import WEIGHTS

NOT_READ = (".md", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".avif", ".mp4", ".pdf", ".lock")
"""Ends of names that no loader reads: notes and samples beside a model."""

LARGE = 64 * 2**20
"""Bytes, from which on a file is told by its stat whatever it is called."""

_SAMPLES, _SAMPLE = 64, 1 << 16
"""Places in a large file that its content is told by, and the bytes read at each."""

TICK_NS = 20_000_000
"""The kernel's clock for the times of files goes in ticks of up to 10 ms (before Linux 6.13, and
on most file systems): a second write within one leaves no trace."""


def is_weights(file: FileState) -> bool:
    return file.path.name.endswith(WEIGHTS) or file.nbytes > LARGE


def identity(file: FileState) -> str:
    """Equal for equal bytes."""
    return ",".join(map(str, file.status)) if is_weights(file) else _content(file)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """Two of the same `digest` stand for the same bytes. `sources` are the files and folders that
    it was taken of, `configs` a folder of which only the small files count, `files` what loaders
    read there."""

    digest: str
    sources: tuple[Path, ...] = field(default=(), compare=False)
    configs: Path | None = field(default=None, compare=False)
    files: tuple[FileState, ...] = field(default=(), compare=False)

    def __str__(self) -> str:
        return self.digest

    @classmethod
    def of(cls, *sources: Path, configs: Path | None = None) -> Fingerprint:
        """Raises OSError when a source is missing."""
        found = [(source, _settled(source)) for source in sources]
        if configs is not None:
            found.append((configs, [f for f in _settled(configs) if not is_weights(f)]))
        digest = hashlib.sha256()
        for source, files in found:
            for file in files:
                name = os.path.relpath(file.path, source if source.is_dir() else source.parent)
                digest.update(f"{name}={identity(file)};".encode())
            digest.update(b"\n")
        read = tuple(file for _, files in found for file in files)
        return cls(digest.hexdigest()[:16], sources, configs, read)

    def content(self) -> str:
        """A hash of what the files hold, the same for a copy of them elsewhere. Of a large file it
        is the size and samples, as reading all of it takes longer than the load."""
        told = "".join(f"{file.path.name}={_held(file)};" for file in self.files)
        return hashlib.sha256((told or self.digest).encode()).hexdigest()[:16]

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While the sources are read. Raises RunFailed when they are not afterwards what the
        fingerprint was taken of: nobody knows then which bytes were read."""
        try:
            yield
        except Exception:  # a file that is half written makes no sense to its reader
            self._require_unchanged()
            raise
        self._require_unchanged()

    @property
    def weights(self) -> tuple[FileState, ...]:
        return tuple(file for file in self.files if is_weights(file))

    def changed_weights(self) -> str | None:
        """The first file of weights that is not what it was, and what happened to it."""
        changes = ((file, file.change()) for file in self.weights)
        return next((f"{str(file.path)!r} {change}" for file, change in changes if change), None)

    def _require_unchanged(self) -> None:
        try:
            now = self.of(*self.sources, configs=self.configs)
        except OSError:
            now = Fingerprint("")  # one is gone
        if self.sources and now != self:
            raise RunFailed(f"{self._difference(now)} while it was being read", hints=[RetryRun()])

    def _difference(self, now: Fingerprint) -> str:
        before, after = ({f.path: identity(f) for f in each.files} for each in (self, now))
        path = next(p for p in {**before, **after} if before.get(p) != after.get(p))
        if path not in before:
            return f"{str(path)!r} was added"
        file = next(file for file in self.files if file.path == path)
        return f"{str(path)!r} {file.change() or 'was changed'}"


def _settled(source: Path) -> list[FileState]:
    """What loaders read there, in the order of names, once every further write will show."""
    found = list(_scan(source))
    newest = max((file.status[4] for file in found), default=0)
    if 0 <= (age := time.time_ns() - newest) < TICK_NS:
        time.sleep((TICK_NS - age) / 1e9)
        return list(_scan(source))
    return found


def _scan(source: Path, depth: int = 1) -> Iterator[FileState]:
    """A file itself, or the files in a folder and in the folders in it: a processor keeps its
    second tokenizer in one."""
    if not source.is_dir():
        yield FileState.of(source)
        return
    with os.scandir(source) as entries:
        named = sorted((e for e in entries if _is_read(e.name)), key=lambda e: e.name)
    for entry in named:
        if entry.is_file():
            yield FileState.of(Path(entry.path))
        elif depth and entry.is_dir():
            yield from _scan(Path(entry.path), depth - 1)


def _is_read(name: str) -> bool:
    return not name.startswith((".", "__pycache__")) and not name.endswith(NOT_READ)


@lru_cache(maxsize=4096)
def _content(file: FileState) -> str:
    """A hash of a small file, kept while its stat is the same."""
    return hashlib.sha256(file.path.read_bytes()).hexdigest()


@lru_cache(maxsize=4096)
def _held(file: FileState) -> str:
    """Like `_content`, for a file of any size; of one that is gone, its stat."""
    try:
        return _content(file) if file.nbytes <= LARGE else _sampled(file)
    except OSError:
        return ",".join(map(str, file.status))


def _sampled(file: FileState) -> str:
    told = hashlib.sha256(str(file.nbytes).encode())
    with file.path.open("rb") as opened:
        for number in range(_SAMPLES):
            opened.seek(number * (file.nbytes - _SAMPLE) // (_SAMPLES - 1))
            told.update(opened.read(_SAMPLE))
    return told.hexdigest()
