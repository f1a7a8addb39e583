"""The seam between a session and what is seen of it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Protocol

from dw.errors import DwError, OutOfResources, WorkflowError
from dw.events import Event

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but for tab and newline
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class OutputClosed(Exception):
    """Nobody reads what we write any more."""


class Renderer(Protocol):
    @property
    def width(self) -> int | None:
        """The cells in a line of the terminal; None where lines may have any length."""

    def begin(self) -> None:
        """The session starts."""

    def command(self, text: str, position: str | None) -> None:
        """A command is about to run; `position` is its `file:line` in a script."""

    def event(self, event: Event, lines: Sequence[str]) -> None:
        """An event of the worker, and what it is in words."""

    def status(self, text: str) -> None:
        """A line on what is going on."""

    def result(self, text: str) -> None:
        """A value that was asked for."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Values that were asked for, in columns."""

    def image(self, path: Path, how: str) -> None:
        """Show the picture in a file where that can be done, in the way that the setting `images`
        names."""

    def warning(self, text: str) -> None: ...

    def error(
        self, error: DwError, *, position: str | None = None, trace: int | None = None
    ) -> None:
        """A command failed; `trace N` shows the rest when there is a number."""

    def pause(self) -> None:
        """The terminal is needed for a question: nothing may move on it."""

    def end(self, exit_code: int) -> None:
        """The session is over."""


class Stream:
    """A text stream whose reader may leave: a write then raises OutputClosed.

    Raises OutOfResources when the disk is full, DwError when a write fails otherwise.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold any bytes
        self._stream = stream

    @property
    def columns(self) -> int | None:
        """The width of the terminal; None where there is none."""
        if self._stream is None:
            return None
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or None
        except (OSError, ValueError):
            return None

    def line(self, text: str, *, before: str = "", after: str = "") -> None:
        """Write a line that cannot steer the terminal; what stands around it may."""
        if self._stream is None:
            raise OutputClosed
        try:
            self._stream.write(f"{before}{harmless(text)}{after}\n")
            self._stream.flush()
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            kind = OutOfResources if error.errno in NO_SPACE else DwError
            raise kind(f"cannot write the output: {error.strerror}") from error


def harmless(text: str) -> str:
    """The text with its control characters written as in JSON, but for tabs and newlines.

    A file or a model's name could otherwise colour, move or retitle the terminal.
    """
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_lines(
    error: DwError, *, position: str | None = None, trace: int | None = None
) -> list[str]:
    """An error in words: what failed, the workflow's problems, the notes on it (`add_note`), what
    to try, where the rest is.
    """
    lines = [f"{position}: error: {error}" if position else f"error: {error}"]
    if isinstance(error, WorkflowError) and [p.message for p in error.problems] != [error.message]:
        lines += [str(problem) for problem in error.problems]
    lines += [f"  {note}" for note in getattr(error, "__notes__", ())]
    if error.hints:
        lines.append("  " + "; ".join(error.hints))
    if trace is not None:
        lines.append(f"full trace: trace {trace}")
    return lines
