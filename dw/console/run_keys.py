"""Run keys: `s` on a line of its own ends the denoising while a run holds the terminal.

All other input is kept for the next prompt. A line that begins with `s` is input: the key counts
when nothing follows it for a moment.

prompt_toolkit does not fit here. Its raw mode turns ISIG off, so that Ctrl-C would be a key and not
a signal, and to read keys its input needs a running asyncio loop.
"""

from __future__ import annotations

import contextlib
import os
import select
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

STOP_KEY = b"s"
ALONE_S = 0.3  # longer than between the keys of a typed word
HANG_UP = 10  # reads without data in a row after which the terminal is gone
ENTER = b"\n"  # as a terminal in cbreak mode sends it


class Keys:
    """Reads the terminal `fd` in cbreak mode. With None it reads and changes nothing."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._pressed: Callable[[], None] | None = None
        self._reader: _KeyReader | None = None
        self._typed = b""

    @classmethod
    def of_stdin(cls) -> Keys:
        with contextlib.suppress(ImportError, OSError, ValueError):
            import termios  # noqa: F401 - Windows lacks it, so the keys do not work there

            if sys.stdin.isatty():
                return cls(sys.stdin.fileno())
        return cls(None)

    @property
    def are_read(self) -> bool:
        return self._fd is not None

    @contextlib.contextmanager
    def watched(self, pressed: Callable[[], None]) -> Iterator[None]:
        """Within this context the key calls `pressed`, in another thread."""
        self._pressed = pressed
        self._open()
        try:
            yield
        finally:
            self._close()
            self._pressed = None

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within this context the terminal has its former mode, for a question to the user."""
        self._close()
        try:
            yield
        finally:
            self._open()

    def typed_ahead(self) -> str:
        """The input for the next prompt; a second call returns nothing."""
        text, self._typed = self._typed, b""
        return text.decode("utf-8", "replace")

    def forget(self) -> None:
        """Drop the input for the next prompt, as the terminal itself does at a Ctrl-C."""
        self._typed = b""
        if self._reader is not None:
            self._reader.forget()

    def _open(self) -> None:
        if self._fd is None or self._pressed is None:
            return
        import termios

        with contextlib.suppress(termios.error):  # the terminal is gone
            self._reader = _KeyReader(self._fd, self._typed, self._pressed)

    def _close(self) -> None:
        if self._reader is not None:
            self._typed = self._reader.close()
            self._reader = None


class _KeyReader:
    """A terminal in cbreak mode and the thread that reads it, until `close`."""

    def __init__(self, fd: int, typed: bytes, pressed: Callable[[], None]) -> None:
        import termios

        self._fd = fd
        self._typed = typed
        self._pressed = pressed
        self._former: list[Any] = termios.tcgetattr(fd)
        changed = [*self._former[:6], [*self._former[6]]]
        changed[3] &= ~(termios.ICANON | termios.ECHO)  # each key at once; Ctrl-C stays a signal
        # What is ready may be gone when it is read: a Ctrl-C empties the terminal's queue.
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 0, 0
        termios.tcsetattr(fd, termios.TCSANOW, changed)
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._read, name="keys", daemon=True)
        self._thread.start()

    def close(self) -> bytes:
        """Restore the former mode. Returns the input for the next prompt."""
        import termios

        os.write(self._end, b"!")
        self._thread.join()
        os.close(self._end)
        os.close(self._ended)
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(self._fd, termios.TCSANOW, self._former)
        return self._typed

    def forget(self) -> None:
        self._typed = b""

    def _read(self) -> None:
        empty = 0
        while empty < HANG_UP and self._is_readable():
            try:
                data = os.read(self._fd, 1024)
            except OSError:
                return
            empty = 0 if data else empty + 1
            is_alone = data == STOP_KEY and self._typed[-1:] in (b"", ENTER)
            if not is_alone or self._is_readable(ALONE_S):
                self._typed += data
            else:
                self._pressed()

    def _is_readable(self, timeout_s: float | None = None) -> bool:
        """Whether there is input, and `close` was not called."""
        ready, _, _ = select.select([self._fd, self._ended], [], [], timeout_s)
        return self._fd in ready and self._ended not in ready
