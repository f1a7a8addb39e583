"""Code that a workflow or its models bring along is reported before it could run."""

from __future__ import annotations

from typing import Any

import pytest

from dw.types import Permissions
from tests.workflow.samples import messages, of_pipeline, parse

MODEL = {"model_name": "some/model"}


def loading(**arguments: Any) -> dict[str, Any]:
    return of_pipeline(from_pretrained_arguments={**MODEL, **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"custom_pipeline": "./mine"},
            "'custom_pipeline' would run the pipeline './mine'; the setting 'trust' allows it",
        ),
        (
            {"trust_remote_code": True},
            "'trust_remote_code' would run the code that comes with 'some/model'; "
            "the setting 'trust' allows it",
        ),
    ],
)
def test_it_needs_trust(arguments: dict[str, Any], message: str) -> None:
    assert messages(loading(**arguments)) == [message]
    assert parse(loading(**arguments), permissions=Permissions(trust=True))


def test_that_of_a_component_does_too() -> None:
    component = {
        "configuration": {"component_type": "transformers.AutoModel"},
        "from_pretrained_arguments": {"model_name": "a/b", "trust_remote_code": True},
    }
    message = (
        "'trust_remote_code' would run the code that comes with 'a/b'; "
        "the setting 'trust' allows it"
    )
    assert messages(of_pipeline(text_encoder=component)) == [message]


def test_an_argument_cannot_bring_it_in() -> None:
    data = loading(custom_pipeline="variable:code") | {"variables": {"code": None}}
    document = parse(data)
    assert document.bind()
    with pytest.raises(Exception, match="would run the pipeline 'x'"):
        document.bind({"code": "x"})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"custom_pipeline": 5}, "'custom_pipeline' must be a string, got 5"),
        ({"trust_remote_code": "yes"}, "'trust_remote_code' must be true or false, got 'yes'"),
    ],
)
def test_its_value_is_judged(arguments: dict[str, Any], message: str) -> None:
    assert messages(loading(**arguments)) == [message]


@pytest.mark.parametrize("nothing", [None, False])
def test_a_value_that_asks_for_nothing_is_accepted(nothing: Any) -> None:
    assert parse(loading(custom_pipeline=None, trust_remote_code=nothing))
