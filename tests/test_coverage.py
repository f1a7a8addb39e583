"""Every key, form and command of the format has a test and an example."""

from docs import coverage


def test_each_is_named_in_a_test() -> None:
    assert [use.name for use in coverage.uses() if use.test is None] == []


def test_each_is_shown_in_an_example() -> None:
    assert [use.name for use in coverage.uses() if use.example is None] == []
