"""Weights in prompts, as they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.engine.calls.prompt_syntax import PromptSegment, has_weights, joined, parse


def runs(prompt: str) -> list[list[tuple[str, float]]]:
    """For each segment, its texts of one weight after the other."""
    found = []
    for segment in parse(prompt):
        texts: list[tuple[str, float]] = []
        for character, weight in zip(segment.text, segment.weights, strict=True):
            rounded = round(weight, 4)
            if texts and texts[-1][1] == rounded:
                texts[-1] = (texts[-1][0] + character, rounded)
            else:
                texts.append((character, rounded))
        found.append(texts)
    return found


@pytest.mark.parametrize(
    ("prompt", "texts"),
    [
        ("", []),
        ("a cat", [("a cat", 1.0)]),
        ("a (red) cat", [("a ", 1.0), ("red", 1.1), (" cat", 1.0)]),
        ("a [red] cat", [("a ", 1.0), ("red", 0.9091), (" cat", 1.0)]),
        ("((very))", [("very", 1.21)]),
        ("[[very]]", [("very", 0.8264)]),
        ("(red:1.5) cat", [("red", 1.5), (" cat", 1.0)]),
        ("(red : 0.5)", [("red ", 0.5)]),
        ("(red:.5)(cat:0)", [("red", 0.5), ("cat", 0.0)]),
        ("(a (red:2) cat:3)", [("a ", 3.0), ("red", 6.0), (" cat", 3.0)]),
        ("[(red)]", [("red", 1.0)]),
        (r"\(red\) \[cat\] \\", [("(red) [cat] \\", 1.0)]),
        (r"(a \) b)", [("a ) b", 1.1)]),
        ("(red", [("red", 1.1)]),
        ("[red", [("red", 0.9091)]),
        ("red) cat]", [("red) cat]", 1.0)]),
        ("time: 5:30", [("time: 5:30", 1.0)]),
        ("ratio:1.5) cat", [("ratio:1.5) cat", 1.0)]),
        ("[red:1.5]", [("red:1.5", 0.9091)]),
        ("(red:high)", [("red:high", 1.1)]),
        ("ÄÖ (ü😀:2)", [("ÄÖ ", 1.0), ("ü😀", 2.0)]),
    ],
)
def test_brackets_weigh_what_is_in_them(prompt: str, texts: list[tuple[str, float]]) -> None:
    assert runs(prompt) == [texts]


def test_a_break_begins_a_new_segment() -> None:
    assert runs("a (cat BREAK a dog) BREAKFAST") == [
        [("a ", 1.0), ("cat", 1.1)],
        [("a dog", 1.1), (" BREAKFAST", 1.0)],
    ]


def test_segments_are_joined_by_a_space_that_weighs_nothing_more() -> None:
    whole = joined(parse("(cat:2) BREAK dog"))
    assert whole.text == "cat dog"
    assert whole.weights == (2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0)


def test_the_weight_of_a_token_is_the_mean_of_its_letters() -> None:
    segment = PromptSegment("a cat", (1.0, 1.0, 2.0, 4.0, 3.0))
    assert segment.weight(1, 5) == 3.0  # the space before it does not count
    assert segment.weight(2, 4) == 3.0
    assert segment.weight(1, 2) == segment.weight(0, 0) == 1.0


@pytest.mark.parametrize(
    ("prompt", "expected"), [("a cat", False), ("a BREAK b", False), ("(a)", True), ("[a", True)]
)
def test_brackets_are_what_asks_for_it(prompt: str, expected: bool) -> None:
    assert has_weights(prompt) is expected


@given(st.text(alphabet="ab ()[]:.15\\BREAK\n", max_size=30))
def test_any_text_is_read(prompt: str) -> None:
    for segment in parse(prompt):
        assert len(segment.text) == len(segment.weights)
        assert all(weight >= 0 for weight in segment.weights)


@given(st.text(alphabet="ab .,é\n", max_size=30))
def test_text_without_brackets_is_itself(prompt: str) -> None:
    assert [segment.text for segment in parse(prompt)] == [prompt.strip()]
