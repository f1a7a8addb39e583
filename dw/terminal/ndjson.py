"""The JSON renderer: one object a line on standard output, for programs.

The objects are the events of the worker and, from the session itself, `session.start`, `command`,
`result`, `error` and, always last, `session.end`; each has its `time`. Warnings and errors also go
to standard error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import dw
from dw.codec import to_json
from dw.errors import DwError, WorkflowError
from dw.events import VERSION, Event, Failed, now
from dw.terminal.remedies import SHELL, Wording
from dw.terminal.renderer import Overall, Stream, error_lines


class JsonRenderer:
    width: int | None = None

    def __init__(self, out: Stream, err: Stream, wording: Wording = SHELL) -> None:
        self._out = out
        self._err = err
        self._wording = wording

    def begin(self) -> None:
        self._emit("session.start", dw=dw.__version__, protocol=VERSION, pid=os.getpid())

    def end(self, exit_code: int) -> None:
        self._emit("session.end", exit=exit_code)

    def pause(self) -> None: ...

    def bell(self) -> None: ...

    def overall(self, position: Overall | None) -> None: ...

    def command(self, text: str, position: str | None) -> None:
        self._emit("command", at=position, text=text)

    def event(self, event: Event, lines: Sequence[str]) -> None:  # noqa: ARG002 - for people
        fields = to_json(event)
        if isinstance(event, Failed):
            fields["hints"] = self._wording.hints(event.hints)
        self._out.line(json.dumps(fields, ensure_ascii=False))

    def status(self, text: str) -> None:
        """Nothing: the events contain it."""

    def result(self, text: str) -> None:
        self._emit("result", text=text)

    def table(
        self,
        header: Sequence[str],
        rows: Sequence[Sequence[str]],
        *,
        wraps: bool = True,  # noqa: ARG002
    ) -> None:
        self._emit("result", rows=[dict(zip(header, row, strict=True)) for row in rows])

    def image(self, path: Path, setting: str) -> None:
        """Nothing: the path of the image is a result."""

    def shows_previews(self, setting: str) -> bool | None:  # noqa: ARG002
        """It passes them on to a program that asks for them."""
        return False

    def warning(self, text: str) -> None:
        self._err.line(f"warning: {text}")

    def error(
        self, error: DwError, *, position: str | None = None, trace: int | None = None
    ) -> None:
        for line in error_lines(error, self._wording, position=position, trace=trace):
            self._err.line(line)
        problems = error.problems if isinstance(error, WorkflowError) else ()
        self._emit(
            "error",
            kind=type(error).__name__,
            exit=error.exit_code,
            at=position,
            where=error.where,
            message=error.message,
            hints=self._wording.hints(error.hints),
            problems=[asdict(problem) for problem in problems],
            trace=trace,
        )

    def traceback(self, text: str) -> None:
        self._err.line(text)

    def _emit(self, name: str, **values: Any) -> None:
        fields = {"event": name, "time": now(), **values}
        self._out.line(json.dumps(fields, ensure_ascii=False, default=str))
