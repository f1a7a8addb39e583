"""Terminal input: what prompt_toolkit reads from a terminal, which may be gone."""

from __future__ import annotations

import os
import select
import termios

from prompt_toolkit.input import Input
from prompt_toolkit.input.posix_utils import PosixStdinReader
from prompt_toolkit.input.vt100 import Vt100Input, raw_mode


def end_on_errors(source: Input) -> None:
    """Let an error of the terminal end the input, as its end does."""
    if isinstance(source, Vt100Input):
        descriptor = source.fileno()
        source.stdin_reader = _Reader(descriptor, encoding=source.stdin.encoding)
        source.raw_mode = lambda: _RawMode(descriptor)  # type: ignore[method-assign]


class _RawMode(raw_mode):
    def __enter__(self) -> None:
        try:
            super().__enter__()
        except termios.error:
            raise EOFError from None


class _Reader(PosixStdinReader):
    """That of prompt_toolkit takes every error for an interrupted call and asks again, for ever
    where the terminal answers with nothing else, as it does a background job that has lost its
    shell. Here an error ends the input."""

    def read(self, count: int = 1024) -> str:
        try:
            if self.closed or not select.select([self.stdin_fd], [], [], 0)[0]:
                return ""
            data = os.read(self.stdin_fd, count)
        except BlockingIOError:
            return ""
        except (OSError, ValueError):
            data = b""
        self.closed = not data
        return self._stdin_decoder.decode(data)
