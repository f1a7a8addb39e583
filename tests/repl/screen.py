"""A terminal for tests: a real pty with a screen behind it that answers as a terminal does."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import pyte

COLUMNS, ROWS = 100, 40
PATIENCE_S = 60.0
POLL_S = 0.02
SETTLED_S = 0.2


class Screen:
    """A process with this terminal as its controlling one. On leaving the context it is gone."""

    def __init__(self, command: Sequence[str], **environment: str) -> None:
        self._screen = pyte.HistoryScreen(COLUMNS, ROWS, history=1000)
        self._stream = pyte.ByteStream(self._screen)
        self.received = b""
        self._terminal, inner = pty.openpty()
        self._inner = inner
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self._screen.write_process_input = lambda text: self.type(text)
        self.modes = termios.tcgetattr(inner)
        streams: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), inner)
        # pytest-xdist sets the size of its own, which would go before that of the terminal.
        inherited = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            command,
            env={**inherited, "TERM": "xterm-256color", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **streams,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()
        self.hang_up()
        os.close(self._inner)

    def hang_up(self) -> None:
        """Close the terminal, as its window does: the process gets a SIGHUP and reads nothing."""
        if self._terminal >= 0:
            os.close(self._terminal)
        self._terminal = -1

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self._inner, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, columns, 0, 0))
        self._screen.resize(columns=columns)

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    @property
    def text(self) -> str:
        """Everything that was on the screen, what scrolled away included."""
        scrolled = [
            "".join(line[column].data for column in range(COLUMNS))
            for line in self._screen.history.top
        ]
        return "\n".join(line.rstrip() for line in [*scrolled, *self._screen.display]).rstrip()

    def wait_for(self, text: str, *, count: int = 1) -> None:
        """Until `text` is there `count` times."""
        deadline = time.monotonic() + PATIENCE_S
        while self.text.count(text) < count:
            is_over = self.process.poll() is not None or time.monotonic() > deadline
            self._read(POLL_S)
            assert not is_over or self.text.count(text) >= count, f"no {text!r} in:\n{self.text}"

    def wait_for_bytes(self, wanted: bytes) -> None:
        """Until the process has sent them, which this screen may not understand."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.received:
            is_over = self.process.poll() is not None or time.monotonic() > deadline
            self._read(POLL_S)
            assert not is_over or wanted in self.received, f"no {wanted!r} with:\n{self.text}"

    def row(self, text: str) -> dict[int, Any]:
        """The cells of the last row of the screen that holds `text`, by their columns."""
        number = max(at for at, line in enumerate(self._screen.display) if text in line)
        cells: dict[int, Any] = self._screen.buffer[number]
        return cells

    def wait_for_file(self, path: Path) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not path.exists():
            is_over = self.process.poll() is not None or time.monotonic() > deadline
            self._read(POLL_S)
            assert not is_over, f"no {path} with:\n{self.text}"

    def wait_until_read(self) -> None:
        """Until nothing of what was typed is left in the terminal.

        What is written to a pty takes a moment to arrive in it, so empty means empty for a while.
        """
        empty_since = time.monotonic()
        while time.monotonic() - empty_since < SETTLED_S:
            if any(fcntl.ioctl(self._inner, termios.FIONREAD, bytes(4))):
                empty_since = time.monotonic()
            time.sleep(POLL_S / 4)

    def wait(self) -> int:
        """Until the process has ended; its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it does not end:\n{self.text}"
            self._read(POLL_S)
        self._read(0)
        return self.process.returncode

    @property
    def is_as_it_was(self) -> bool:
        """Whether the process left the terminal's modes as it found them."""
        return termios.tcgetattr(self._inner) == self.modes

    def _read(self, timeout_s: float) -> None:
        while select.select([self._terminal], [], [], timeout_s)[0]:
            data = os.read(self._terminal, 65536)
            self.received += data
            self._stream.feed(data)
            timeout_s = 0
