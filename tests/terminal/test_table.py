from __future__ import annotations

import pytest

from dw.short_text import in_one_line, text_width
from dw.terminal.table import aligned, indented, tab_separated

HEADER = ("command", "description")
ROWS = [("load", "find a workflow, check it and show what it takes"), ("run", "run it")]


def test_columns_stand_side_by_side() -> None:
    assert aligned(("a", "b"), [("long", "1"), ("x", "two\n words")]) == [
        "  a     b",
        "  long  1",
        "  x     two words",
    ]


def test_the_last_column_goes_on_below_itself() -> None:
    assert aligned(HEADER, ROWS, 40) == [
        "  command  description",
        "  load     find a workflow, check it and",
        "           show what it takes",
        "  run      run it",
    ]


def test_other_columns_are_cut() -> None:
    assert aligned(("value", "default"), [("a lighthouse on a cliff", "25")], 26) == [
        "  value            default",
        "  a lighthouse...  25",
    ]


def test_the_names_in_the_first_column_give_last() -> None:
    header = ("argument", "value", "default")
    lines = aligned(header, [("num_inference_steps", "a lighthouse on a cliff", "25")], 44)
    assert lines[1] == "  num_inference_steps  a lightho...  25"


@pytest.mark.parametrize("width", [30, 50, 80, 100])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    rows = [("name", "一幅灯塔的水彩画" * 4, "a" * 70), ("é" * 9, "two words", "words " * 30)]
    assert all(text_width(line) <= width for line in aligned(("a", "b", "c"), rows, width))


def test_wide_characters_keep_the_columns_in_line() -> None:
    assert aligned(("a", "b"), [("画", "1"), ("xyz", "2")]) == ["  a    b", "  画   1", "  xyz  2"]


def test_a_text_is_broken_between_words() -> None:
    assert indented("step draw: FluxPipeline, nobody/tiny", 26) == [
        "  step draw: FluxPipeline,",
        "  nobody/tiny",
    ]
    assert indented("any length at all") == ["  any length at all"]


def test_tabs_separate_the_columns_for_programs() -> None:
    assert tab_separated(("a", "b"), [("x\ty", "1\n2")]) == ["a\tb", "x y\t1 2"]


def test_a_long_value_is_cut() -> None:
    assert in_one_line("x" * 61) == "x" * 57 + "..."
    assert in_one_line([1, "a"]) == '[1, "a"]'


@pytest.mark.parametrize(("text", "cells"), [("e\u0301", 1), ("一", 2)])
def test_a_text_has_the_width_that_a_terminal_gives_it(text: str, cells: int) -> None:
    assert text_width(text) == cells
