"""What the input of a job asks for."""

from __future__ import annotations

from typing import Any

import pytest

from dw.runpod.call import Call, Default, call_of, calls_of, unwrapped
from dw.workflow.inputs import InvalidInputs

HEADSHOT = Default("headshot", ("prompt", "user_id"))


@pytest.mark.parametrize(
    ("given", "call"),
    [
        ({"prompt": "a"}, Call("headshot", {"prompt": "a"})),
        ({}, Call("headshot", {})),
        ({"workflow": "other", "arguments": {"x": 1}}, Call("other", {"x": 1})),
        ({"workflow": "other"}, Call("other", {})),
        ({"workflow": "other", "arguments": None}, Call("other", {})),
        ({"arguments": {"prompt": "a"}}, Call("headshot", {"prompt": "a"})),
        ({"workflow": "o", "seed": 7, "timeout_s": 9}, Call("o", {}, seed=7, timeout_s=9.0)),
    ],
)
def test_a_call_is_an_envelope_or_the_arguments_alone(given: dict[str, Any], call: Call) -> None:
    assert call_of(given, HEADSHOT) == call


def test_a_variable_may_be_called_like_a_part_of_the_envelope() -> None:
    default = Default("odd", ("workflow", "inputs"))
    given = {"workflow": "comic", "inputs": ["a"]}
    assert calls_of(given, default) == [Call("odd", given)]


@pytest.mark.parametrize(
    ("given", "error_type", "message"),
    [
        ([1], "invalid_type", "input must be an object, got [1]"),
        (None, "invalid_type", "input must be an object, got None"),
        ({}, "missing_field", "Missing required field: 'workflow'"),
        ({"arguments": {}}, "missing_field", "Missing required field: 'workflow'"),
        ({"workflow": 3}, "invalid_type", "workflow must be a string, got 3"),
        (
            {"workflow": "o", "arguments": [1]},
            "invalid_type",
            "arguments must be an object, got [1]",
        ),
        (
            {"workflow": "o", "argument": {}},
            "unknown_field",
            "unknown field 'argument' (did you mean 'arguments'?); "
            'the arguments belong into "arguments"',
        ),
        (
            {"workflow": "o", "timeout_s": True},
            "invalid_value",
            "timeout_s must be a number of seconds above 0, got True",
        ),
        ({"inputs": []}, "invalid_type", "inputs must be a list of at least one object"),
        ({"inputs": {}}, "invalid_type", "inputs must be a list of at least one object"),
        (
            {"inputs": [{}], "seed": 7},
            "unknown_field",
            "unknown field 'seed'; the arguments belong into the objects of \"inputs\"",
        ),
    ],
)
def test_a_wrong_input_is_named(given: Any, error_type: str, message: str) -> None:
    with pytest.raises(InvalidInputs) as caught:
        calls_of(given, None)
    (problem,) = caught.value.problems
    assert (problem.error_type, problem.message) == (error_type, message)


def test_one_wrong_call_of_a_batch_leaves_the_others() -> None:
    good, bad = calls_of({"workflow": "o", "timeout_s": 5, "inputs": [{"x": 1}, 3]}, None)
    assert good == Call("o", {"x": 1}, timeout_s=5.0)
    assert isinstance(bad, InvalidInputs)


def test_the_clients_second_input_is_unwrapped() -> None:
    assert unwrapped({"input": {"a": 1}}) == {"a": 1}
    assert unwrapped({"input": 1, "b": 2}) == {"input": 1, "b": 2}
