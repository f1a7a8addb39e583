from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.errors import UsageError
from dw.workflow.substitution import filled, substitute, variable_name
from dw.workflow.variables import check_names, convert, type_name

LOCATION = {"location": "cat.png"}


class Image:
    """Stands for anything that is not JSON."""


CONVERTED = [
    (25, "30", 30),
    (25, " -4 ", -4),
    (25, 30, 30),
    (3.5, "7", 7.0),
    (3.5, "1e-3", 0.001),
    (3.5, ".5", 0.5),
    (3.5, 7, 7.0),
    (True, "off", False),
    (False, "YES", True),
    (False, "1", True),
    (True, False, False),
    ("a", "25", "25"),
    ("a", "", ""),
    ([], "a, b", ["a", "b"]),
    ([], "", []),
    (["x"], "a,b", ["a", "b"]),
    ([512, 768], "1024, 64", [1024, 64]),
    ([0.5], "1,2", [1.0, 2.0]),
    ([1, "a"], "2,b", ["2", "b"]),
    ([[1]], "2", ["2"]),
    ([512], [1, "a", None], [1, "a", None]),
    ({}, {"a": 1}, {"a": 1}),
    (LOCATION, "dog.png", "dog.png"),
    (None, "25", "25"),
    (None, 25, 25),
    (None, None, None),
]


@pytest.mark.parametrize(("default", "value", "expected"), CONVERTED)
def test_a_value_takes_the_declared_type(default: Any, value: Any, expected: Any) -> None:
    converted = convert("x", default, value)
    assert converted == expected
    assert type(converted) is type(expected)


MISFITS = [
    (25, "abc", "x must be an integer, got 'abc'"),
    (25, "7.5", "x must be an integer, got '7.5'"),
    (25, 7.0, "x must be an integer, got 7.0"),
    (25, True, "x must be an integer, got true"),
    (25, "", "x must be an integer, got ''"),
    (25, "1_000", "x must be an integer, got '1_000'"),
    (25, "٢", "x must be an integer, got '٢'"),
    (25, None, "x must be an integer, got null"),
    (25, [1], "x must be an integer, got [1]"),
    (3.5, "fast", "x must be a number, got 'fast'"),
    (3.5, "nan", "x must be a number, got 'nan'"),
    (3.5, "1e999", "x must be a number, got '1e999'"),
    (3.5, float("inf"), "x must be a number, got Infinity"),
    (3.5, False, "x must be a number, got false"),
    (True, "maybe", "x must be true or false, got 'maybe'"),
    (True, 1, "x must be true or false, got 1"),
    ("a", 5, "x must be a string, got 5"),
    ("a", None, "x must be a string, got null"),
    ("a", {"b": 1}, 'x must be a string, got {"b": 1}'),
    ([], 5, "x must be a list, got 5"),
    ([512], "a,b", "x must be a list of integers, got 'a,b'"),
    ({}, "a", "x must be an object, got 'a'"),
    (LOCATION, 5, "x must be an object, got 5"),
]


@pytest.mark.parametrize(("default", "value", "message"), MISFITS)
def test_a_value_that_does_not_fit_is_an_error(default: Any, value: Any, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        convert("x", default, value)
    assert str(caught.value) == message


def test_a_huge_integer_is_not_read_as_a_number() -> None:
    with pytest.raises(UsageError, match="x must be a number, got 1000"):
        convert("x", 1.0, 10**400)


@pytest.mark.parametrize("value", ["7.5", 7.5])
def test_a_fraction_for_an_integer_says_how_to_allow_it(value: Any) -> None:
    with pytest.raises(UsageError) as caught:
        convert("scale", 7, value)
    assert caught.value.hints == ("the default 7 makes it an integer; 7.0 would allow fractions",)


@pytest.mark.parametrize("default", [25, 3.5, True, "a", [], {}, None])
def test_what_is_not_json_passes_through(default: Any) -> None:
    image = Image()
    assert convert("image", default, image) is image
    assert convert("images", default, images := [image]) is images


values = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = values | st.lists(values, max_size=3) | st.dictionaries(st.text(max_size=3), values)
defaults = st.sampled_from([25, 3.5, True, "a", [], ["a"], [1], [0.5], [True], {}, LOCATION, None])


@given(defaults, values)
def test_converting_twice_is_converting_once(default: Any, value: Any) -> None:
    try:
        once = convert("x", default, value)
    except UsageError:
        return
    assert repr(convert("x", default, once)) == repr(once)


@given(st.integers(-(10**30), 10**30))
def test_an_integer_survives_its_text(value: int) -> None:
    assert convert("x", 0, str(value)) == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_survives_its_text(value: float) -> None:
    assert math.isclose(convert("x", 0.0, str(value)), value, rel_tol=0)


@pytest.mark.parametrize(
    ("default", "name"),
    [
        (1, "an integer"),
        (1.0, "a number"),
        (True, "true or false"),
        ("", "a string"),
        ([], "a list"),
        ([1, 2], "a list of integers"),
        ([1, 2.0], "a list"),
        ({}, "an object"),
        (None, "any value"),
    ],
)
def test_a_type_is_named_in_plain_words(default: Any, name: str) -> None:
    assert type_name(default) == name


@pytest.mark.parametrize("name", ["9lives", "my name", "", "a.b", "é", "x" * 101])
def test_a_variable_that_cannot_be_typed_is_refused(name: str) -> None:
    (finding,) = check_names({name: 1})
    assert finding.path == ("variables", name)
    assert "a variable is named by letters, digits, '_' and '-'" in finding.message


def test_names_with_dashes_and_digits_are_fine() -> None:
    assert not list(check_names({"_a-9": 1, "prompt": 2, "x" * 100: 3}))


# ------------------------------------------------------------------ substitution


def test_a_reference_is_the_whole_string() -> None:
    values = {"who": "fox"}
    assert substitute(["variable:who", "a variable:who", "variable:who!"], values) == [
        "fox",
        "a variable:who",
        "variable:who!",
    ]


@pytest.mark.parametrize(
    "text", ["variable: weather", "variable:a b", "Variable:a", "x variable:a"]
)
def test_prose_is_no_reference(text: str) -> None:
    assert variable_name(text) is None


def test_values_keep_their_type_and_their_own_references() -> None:
    filled_in = substitute({"a": "variable:n", "b": ["variable:t"]}, {"n": 5, "t": "variable:n"})
    assert filled_in == {"a": 5, "b": ["variable:n"]}


def test_each_use_of_a_container_is_a_copy() -> None:
    values = {"size": [1, {"a": 2}]}
    first, second = substitute(["variable:size", "variable:size"], values)
    assert first == second == values["size"]
    assert first is not second
    assert first[1] is not values["size"][1]


def test_what_is_not_json_is_not_copied() -> None:
    image = Image()
    assert substitute({"image": "variable:i"}, {"i": image})["image"] is image


def test_the_declared_variables_take_the_values_themselves() -> None:
    data = {"variables": {"a": 1}, "steps": ["variable:a"]}
    assert filled(data, {"a": 2}) == {"variables": {"a": 2}, "steps": [2]}
