"""Output readers: what a worker prints to descriptors 1 and 2, as lines, bounded and logged.

The shell reads the pipe, not a thread of the worker, so native output arrives while the GIL is held
and the last line before a segfault survives.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from typing import TYPE_CHECKING

from dw.redaction import redacted_text
from dw.worker.process.pipes import is_ready, pipe_reader

if TYPE_CHECKING:
    from pathlib import Path

DRAINED = b"\x00drained\x00\n"
"""The worker writes this line before a terminal event, after everything that the run printed."""

LONGEST_LINE = 4096  # bytes; the rest of a longer line is cut and marked as cut
TAIL_LINES = 20
LINES_PER_SECOND = 50  # more than that is noise to a reader; the log has them all
END_WAIT_S = 0.02  # only a thread that reads the pipe of a dead process needs any
LOG_LIMIT = 50 << 20  # bytes


class OutputReader:
    """Lines from the descriptor `fd`, which it owns. `tail` keeps the last ones.

    `has_ended`: every process that could write has exited. `secrets` are replaced in its lines.
    """

    def __init__(self, fd: int, log: Path) -> None:
        self._pipe = pipe_reader(fd)
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.log = log
        self.secrets: dict[str, str] = {}
        self._log: int | None = None
        with contextlib.suppress(OSError):  # the shell goes on without a log
            log.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._logged = 0
        self._rest = b""
        self.has_ended = False
        self._marks = 0
        self._window = 0.0
        self._passed = 0
        self._dropped = 0

    def read(self) -> list[str]:
        """The lines that have arrived since the last call, at most one pipe full. Never waits."""
        data = self._pipe.receive()
        self.has_ended = data == b""
        return self._lines(data or b"")

    def drain(self, limit_s: float = 0.05) -> list[str]:
        """All lines up to the next mark or the end of the pipe, for at most `limit_s`; last, how
        many were left out.

        The worker writes a mark before its event, so only a worker that breaks the rule is waited
        for.
        """
        lines: list[str] = []
        give_up = time.monotonic() + limit_s
        while not self._marks and not self.has_ended and (left := give_up - time.monotonic()) > 0:
            if not is_ready(self._pipe, left):
                break
            lines += self.read()
        self._marks = max(0, self._marks - 1)
        return lines + self._left_out()

    def drain_to_end(self) -> list[str]:
        """What is left in the pipe of a process that has exited, with its unfinished line."""
        lines: list[str] = []
        while not self.has_ended and is_ready(self._pipe, END_WAIT_S):
            lines += self.read()
        return lines + self._lines(b"\n") + self._left_out()

    def fileno(self) -> int:
        """Can be waited for until `has_ended`."""
        return self._pipe.fileno()

    def close(self) -> None:
        self._pipe.close()
        if self._log is not None:
            os.close(self._log)

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
                lines.append(redacted_text(line, self.secrets))
        self.tail.extend(lines)
        if lines and self._log is not None and self._logged < LOG_LIMIT:
            with contextlib.suppress(OSError):  # a full disk must not end the shell
                self._logged += os.write(self._log, "".join(f"{line}\n" for line in lines).encode())
        return self._limited(lines)

    def _limited(self, lines: list[str]) -> list[str]:
        now = time.monotonic()
        passed: list[str] = []
        if now - self._window >= 1.0:
            passed = self._left_out()
            self._window, self._passed = now, 0
        room = max(0, LINES_PER_SECOND - self._passed)
        passed += lines[:room]
        self._passed += len(lines[:room])
        self._dropped += len(lines[room:])
        return passed

    def _left_out(self) -> list[str]:
        """A line that counts the dropped ones, once."""
        count, self._dropped = self._dropped, 0
        return [f"({count} more lines in {self.log})"] if count else []


def _text(raw: bytes) -> str:
    """One line: the last state of text that a `\\r` painted over, the beginning of a long line."""
    painted = raw.rstrip(b"\r").rpartition(b"\r")[2]
    cut = " ... (cut)" if len(painted) > LONGEST_LINE else ""
    return painted[:LONGEST_LINE].decode("utf-8", "backslashreplace") + cut
