from __future__ import annotations

import os
import sys

import pytest

from dw.terminal.capabilities import Terminal, ask


def test_a_question_that_nobody_needs_any_more_goes_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    with os.fdopen(read) as nobody:
        monkeypatch.setattr(sys, "stdin", nobody)
        decided = iter([None, False])
        assert not ask("kill the worker? ", lambda: next(decided))
    os.close(write)
    assert capsys.readouterr().out == "kill the worker? \n"


@pytest.mark.parametrize(
    ("choice", "environment", "for_people", "expected"),
    [
        ("always", {"NO_COLOR": "1"}, False, True),
        ("never", {"FORCE_COLOR": "1"}, True, False),
        ("auto", {}, True, True),
        ("auto", {}, False, False),
        ("auto", {"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ("auto", {"NO_COLOR": ""}, True, True),
        ("auto", {"FORCE_COLOR": "1"}, False, True),
        ("auto", {"TERM": "dumb"}, True, False),
    ],
)
def test_colour_is_for_people_who_want_it(
    choice: str, environment: dict[str, str], for_people: bool, expected: bool
) -> None:
    terminal = Terminal(True, True, False, environment)
    assert terminal.color(choice, for_people=for_people) is expected  # type: ignore[arg-type]
