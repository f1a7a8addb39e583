"""What a worker prints: its file descriptors 1 and 2 arrive here as lines, bounded and logged.

The shell reads the pipe, not a thread of the worker, so native output is heard while the GIL is
held and the last line before a segfault survives.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from dw.worker.process.pipes import is_ready, pipe_reader

if TYPE_CHECKING:
    from pathlib import Path

DRAINED = b"\x00drained\x00\n"
"""The worker writes this line before a terminal event: what its run printed stands before it."""

LONGEST_LINE = 4096  # bytes; the rest of a longer line is cut, and said to be
TAIL_LINES = 20
LINES_PER_SECOND = 50  # more than that is noise to a reader; the log has them all
LAST_WORDS_S = 0.02  # the pipe of a dead process is at its end, but for a thread that reads it
LOG_LIMIT = 50 << 20  # bytes


class OutputReader:
    """The lines that come out of `fd`; it owns the descriptor. `tail` keeps the last ones."""

    def __init__(self, fd: int, log: Path) -> None:
        self._pipe = pipe_reader(fd)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.log = log
        self._log = _open_log(log)
        self._logged = 0
        self._rest = b""
        self._ended = False
        self._marks = 0
        self._window = 0.0
        self._told = 0
        self._dropped = 0

    def read(self) -> list[str]:
        """The lines that have arrived since the last call, at most one pipe full. Never waits."""
        return self._lines(self._receive() or b"")

    def drain(self, limit_s: float = 0.05) -> list[str]:
        """All lines up to the next mark, or up to the end of the pipe, or for `limit_s`; last of
        all, how many more there were.

        A mark stands in the pipe before its event does, so that there is no wait but for a sinner.
        """
        lines: list[str] = []
        give_up = time.monotonic() + limit_s
        while not self._marks and not self._ended and (left := give_up - time.monotonic()) > 0:
            if not is_ready(self._pipe, left):
                break
            lines += self.read()
        self._marks = max(0, self._marks - 1)
        return lines + self._left_out()

    def drain_the_dead(self) -> list[str]:
        """What is left in the pipe of a process that is gone, its unfinished line included."""
        lines: list[str] = []
        while not self._ended and is_ready(self._pipe, LAST_WORDS_S):
            lines += self.read()
        return lines + self._lines(b"\n") + self._left_out()

    @property
    def ear(self) -> int | Connection[Any, Any]:
        """What to wait for, until it has ended."""
        return self._pipe.ear

    @property
    def ended(self) -> bool:
        """Every process that could write is gone."""
        return self._ended

    def close(self) -> None:
        self._pipe.close()
        if self._log is not None:
            os.close(self._log)

    def _receive(self) -> bytes | None:
        """One read: None when nothing is there, empty when nobody can write any more."""
        data = self._pipe.receive()
        self._ended = data == b""
        return data

    def _lines(self, data: bytes) -> list[str]:
        *complete, self._rest = (self._rest + data).replace(b"\r\n", b"\n").split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            complete.append(self._rest)
            self._rest = b""
        lines = []
        for raw in complete:
            if raw + b"\n" == DRAINED:
                self._marks += 1
            elif (line := _text(raw)).strip():
                self._keep(line)
                lines.append(line)
        return self._limited(lines)

    def _keep(self, line: str) -> None:
        self.tail.append(line)
        if self._log is not None and self._logged < LOG_LIMIT:
            with contextlib.suppress(OSError):  # a full disk must not take the shell down
                self._logged += os.write(self._log, f"{line}\n".encode())

    def _limited(self, lines: list[str]) -> list[str]:
        now = time.monotonic()
        told: list[str] = []
        if now - self._window >= 1.0:
            told = self._left_out()
            self._window, self._told = now, 0
        room = max(0, LINES_PER_SECOND - self._told)
        told += lines[:room]
        self._told += len(lines[:room])
        self._dropped += len(lines[room:])
        return told

    def _left_out(self) -> list[str]:
        """That lines were dropped, once."""
        count, self._dropped = self._dropped, 0
        return [f"({count} more lines in {self.log})"] if count else []


def _text(raw: bytes) -> str:
    """One line: of text that a `\\r` painted over, the last state; of a too long one, the
    beginning.
    """
    painted = raw.rstrip(b"\r").rpartition(b"\r")[2]
    cut = " ... (cut)" if len(painted) > LONGEST_LINE else ""
    return painted[:LONGEST_LINE].decode("utf-8", "backslashreplace") + cut


def _open_log(path: Path) -> int | None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError:
        return None
