"""A program's end: its exit code, and what is said of a bug."""

from __future__ import annotations

import json

import pytest

from dw.console.options import OutputOptions, ProgramOptions
from dw.console.program import Program, make_renderer
from dw.errors import Bug, DwError, UsageError
from dw.terminal.capabilities import Terminal
from dw.terminal.remedies import PROGRAM
from tests.repl.fake import FakeClient


def run(error: Exception) -> int:
    """The exit code of a program whose work raises `error`."""
    options = ProgramOptions(OutputOptions(json=True))
    renderer = make_renderer(options.output, Terminal.here(), PROGRAM, for_people=False)

    def work(*_: object) -> int:
        raise error

    return Program(options, renderer, FakeClient).run(work)


@pytest.mark.parametrize(
    ("error", "expected"),
    [(UsageError("wrong"), UsageError), (ZeroDivisionError("by zero"), Bug)],
)
def test_what_the_work_raises_is_an_event_and_the_exit_code(
    error: Exception, expected: type[DwError], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(error) == expected.exit_code
    begin, failed, end = map(json.loads, capsys.readouterr().out.splitlines())
    assert begin["event"] == "session.start"
    assert failed["kind"] == expected.__name__
    assert (end["event"], end["exit"]) == ("session.end", expected.exit_code)


def test_the_traceback_of_a_bug_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    run(ZeroDivisionError("by zero"))
    error = capsys.readouterr().err
    assert error.index("a bug in dw: ZeroDivisionError: by zero") < error.index("Traceback")
