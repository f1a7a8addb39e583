"""The seam between a session and what is seen of it."""

from __future__ import annotations

from collections.abc import Sequence
from io import TextIOWrapper
from typing import IO, Protocol

from dw.errors import DwError, WorkflowError
from dw.worker.protocol import Event


class OutputClosed(Exception):
    """Nobody reads what we write any more."""


class Renderer(Protocol):
    def begin(self) -> None:
        """The session starts."""

    def command(self, text: str, at: str | None) -> None:
        """A command is about to run; `at` is its `file:line` in a script."""

    def event(self, event: Event, lines: Sequence[str]) -> None:
        """An event of the worker, and what it is in words."""

    def status(self, text: str) -> None:
        """A line on what is going on."""

    def result(self, text: str) -> None:
        """A value that was asked for."""

    def table(self, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Values that were asked for, in columns."""

    def warning(self, text: str) -> None: ...

    def error(self, error: DwError, *, at: str | None = None, trace: int | None = None) -> None:
        """A command failed; `trace N` shows the rest when there is a number."""

    def pause(self) -> None:
        """The terminal is needed for a question: nothing may move on it."""

    def end(self, exit_code: int) -> None:
        """The session is over."""


class Stream:
    """A text stream whose reader may leave: a write then raises OutputClosed.

    Raises DwError when what is written cannot be kept, as on a full disk.
    """

    def __init__(self, stream: IO[str] | None) -> None:
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name may hold any bytes
        self._stream = stream

    def line(self, text: str) -> None:
        if self._stream is None:
            raise OutputClosed
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as error:
            raise DwError(f"cannot write the output: {error.strerror}") from error


def error_lines(error: DwError, *, at: str | None = None, trace: int | None = None) -> list[str]:
    """An error in words: what failed, the workflow's problems, what to try, where the rest is."""
    lines = [f"{at}: error: {error}" if at else f"error: {error}"]
    if isinstance(error, WorkflowError) and [p.message for p in error.problems] != [error.message]:
        lines += [str(problem) for problem in error.problems]
    if error.hints:
        lines.append("  " + "; ".join(error.hints))
    if trace is not None:
        lines.append(f"full trace: trace {trace}")
    return lines
