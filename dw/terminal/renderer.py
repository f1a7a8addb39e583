"""The renderer: the protocol that a session writes to, and the streams behind it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import IO, Protocol

from dw.errors import DwError, WorkflowError
from dw.events import Event
from dw.refusals import cannot
from dw.terminal.remedies import Wording

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # all except tab and newline
GONE = (errno.EPIPE, errno.EIO)  # the reader of a pipe, the terminal


class OutputClosed(Exception):
    """The reader of the output is gone."""


@dataclass(frozen=True, slots=True)
class Overall:
    """So many runs of a sweep are over; the rest takes `rest_s` seconds, if that is known."""

    done: int
    total: int
    rest_s: float | None = None


class Renderer(Protocol):
    @property
    def width(self) -> int | None:
        """The cells of a line of the terminal; None where lines may have any length."""

    def begin(self) -> None:
        """The session starts."""

    def command(self, text: str, position: str | None) -> None:
        """A command is about to run; `position` is its `file:line` in a script."""

    def event(self, event: Event, lines: Sequence[str]) -> None:
        """An event of the worker, and its lines from `EventMessages`."""

    def overall(self, position: Overall | None) -> None:
        """How far all runs of a sweep are; None when it is over."""

    def status(self, text: str) -> None:
        """A line on the current activity."""

    def result(self, text: str) -> None:
        """A value that the user asked for."""

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, wraps: bool = True
    ) -> None:
        """Values that the user asked for, in columns; `wraps`: a row may take several lines of a
        terminal."""

    def image(self, path: Path, setting: str) -> None:
        """Show the image in a file where the output can; `setting` is the value of `images`."""

    def shows_previews(self, setting: str) -> bool | None:
        """Whether it shows previews of the images that are made, with the value `setting` of
        `images`; None: it cannot even pass them on."""

    def bell(self) -> None:
        """Call the user back to the terminal."""

    def warning(self, text: str) -> None: ...

    def error(
        self, error: DwError, *, position: str | None = None, trace: int | None = None
    ) -> None:
        """A command failed; `trace` is the number under which its traceback is kept."""

    def traceback(self, text: str) -> None:
        """The traceback of the error before it."""

    def pause(self) -> None:
        """Stop the progress bar: the terminal is needed for a question."""

    def end(self, exit_code: int) -> None:
        """The session is over."""


class Stream:
    """A text stream whose reader may close it.

    A write raises OutputClosed then, OutOfResources when the disk is full, and RunFailed when it
    fails for another reason. `is_optional`: a line that cannot be written, because the stream was
    closed from the start or the disk is full, is dropped: no work fails for a message.
    """

    def __init__(self, stream: IO[str] | None, *, is_optional: bool = False) -> None:
        self._is_optional = is_optional
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold any bytes
        self._stream = stream

    @property
    def size(self) -> tuple[int, int] | None:
        """The columns and rows of the terminal; None where there is none."""
        if self._stream is None:
            return None
        try:
            found = os.get_terminal_size(self._stream.fileno())
        except (OSError, ValueError):
            return None
        return (found.columns, found.lines) if found.columns and found.lines else None

    @property
    def columns(self) -> int | None:
        return self.size[0] if self.size else None

    def line(self, text: str, *, before: str = "", after: str = "") -> None:
        """Write a line, without its control characters; `before` and `after` may have some."""
        self.raw(f"{before}{without_controls(text)}{after}\n")

    def raw(self, text: str) -> None:
        """Write a text as it is."""
        if self._stream is None:
            if self._is_optional:
                return
            raise OutputClosed
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError as error:
            if isinstance(error, BrokenPipeError) or error.errno in GONE:
                raise OutputClosed from None
            if self._is_optional:
                return
            raise cannot("write the output", error) from error


def without_controls(text: str) -> str:
    """The text with its control characters, except tab and newline, spelled as in JSON.

    The name of a file or model could otherwise colour, scroll or retitle the terminal.
    """
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def error_lines(
    error: DwError, wording: Wording, *, position: str | None = None, trace: int | None = None
) -> list[str]:
    """The lines of an error: its message, the workflow's problems, its notes (`add_note`), its
    hints, and where its traceback is.
    """
    lines = [f"{position}: error: {error}" if position else f"error: {error}"]
    if isinstance(error, WorkflowError) and [p.message for p in error.problems] != [error.message]:
        lines += [str(problem) for problem in error.problems]
    lines += [f"  {note}" for note in getattr(error, "__notes__", ())]
    if hints := wording.hints(error.hints):
        lines.append("  " + "; ".join(hints))
    if trace is not None and wording.full_trace:
        number = f" {trace}" if trace > 0 else ""  # that of a run
        lines.append(wording.full_trace.format(number))
    return lines
