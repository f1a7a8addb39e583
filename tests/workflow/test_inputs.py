"""Inputs: the limits on arguments, the texts and types of their errors, and their JSON Schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from dw.errors import UsageError
from dw.jobs.request import run_request
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.settings import Settings
from dw.types import Permissions
from dw.workflow import Document, load_document, validate_text
from dw.workflow.inputs import arguments_schema, check_inputs

HEADSHOT = Path(__file__).parents[2] / "examples" / "service" / "headshot.json"
LONG = "x" * 1001


@pytest.fixture(scope="module")
def headshot() -> Document:
    return load_document(HEADSHOT)


@pytest.mark.parametrize(
    ("given", "error_type", "message"),
    [
        ({"user_id": "test"}, "missing_field", "Missing required field: 'prompt'"),
        ({"prompt": "test"}, "missing_field", "Missing required field: 'user_id'"),
        ({}, "missing_field", "Missing required field: 'prompt'"),
        ({"prompt": None, "user_id": "a"}, "missing_field", "Missing required field: 'prompt'"),
        (
            {"prompt": LONG, "user_id": "a"},
            "prompt_too_long",
            "Prompt is too long. Maximum length: 1000 characters",
        ),
        (
            {"prompt": "a", "user_id": "user@domain.com"},
            "user_id_invalid_format",
            "User ID contains invalid characters",
        ),
        ({"prompt": " \n", "user_id": "a"}, "prompt_empty", "Prompt cannot be empty"),
        ({"prompt": 3, "user_id": "a"}, "invalid_type", "prompt must be a string, got 3"),
        (
            {"prompt": "a", "user_id": "a", "num_inference_steps": 0},
            "invalid_value",
            "Steps must be at least 1, got 0",
        ),
        (
            {"prompt": "a", "user_id": "a", "num_inference_steps": 101},
            "invalid_value",
            "Steps must be at most 100, got 101",
        ),
        (
            {"prompt": "a", "user_id": "a", "promt": "b"},
            "unknown_field",
            "unknown field 'promt' (did you mean 'prompt'?)",
        ),
    ],
)
def test_the_first_problem(
    headshot: Document, given: dict[str, Any], error_type: str, message: str
) -> None:
    first = check_inputs(headshot, given)[0]
    assert (first.error_type, first.message) == (error_type, message)


def test_all_problems_are_found_in_declared_order(headshot: Document) -> None:
    given = {"other": 1, "num_inference_steps": 0, "user_id": "a b", "prompt": LONG}
    assert [each.error_type for each in check_inputs(headshot, given)] == [
        *("prompt_too_long", "user_id_invalid_format", "invalid_value", "unknown_field")
    ]


def test_what_is_within_its_limits_passes(headshot: Document) -> None:
    given = {"prompt": "x" * 1000, "user_id": "a_B-9", "num_inference_steps": "100", "seed": 1}
    assert check_inputs(headshot, given) == ()


def test_the_shell_refuses_the_same(headshot: Document) -> None:
    workflow = OpenWorkflow(headshot)
    with pytest.raises(UsageError, match=r"Prompt is too long\. Maximum length: 1000 characters"):
        workflow.set({"prompt": LONG})
    with pytest.raises(UsageError, match="User ID contains invalid characters"):
        workflow.set({"user_id": "../etc"})
    workflow.set({"prompt": "a hen"})
    with pytest.raises(UsageError, match="Missing required field: 'user_id'"):
        run_request(workflow, Settings(), Permissions(), run_id=1)
    # A rehearsal takes the defaults.
    run_request(workflow, Settings(rehearse=True), Permissions(), run_id=1)
    workflow.set({"user_id": "a"})
    run_request(workflow, Settings(), Permissions(), run_id=1)


def test_the_table_of_arguments_says_what_is_allowed(headshot: Document) -> None:
    rows = OpenWorkflow(headshot).arguments()
    assert {row.name: row.allowed for row in rows} == {
        "prompt": "required; 1 to 1000 characters",
        "user_id": "required; 1 to 100 characters; matches ^[A-Za-z0-9_-]+$",
        "num_inference_steps": "1 to 100",
        "number": "one of 1, 2, 4",
        "negative_prompt": "at most 1000 characters",
        "seed": "",
    }
    assert {row.name: row.type for row in rows}["negative_prompt"] == "text"


def test_the_shell_names_each_missing_field_in_the_same_words(headshot: Document) -> None:
    with pytest.raises(UsageError) as caught:
        run_request(OpenWorkflow(headshot), Settings(), Permissions(), run_id=1)
    assert caught.value.message == (
        "Missing required field: 'prompt'; Missing required field: 'user_id'"
    )


def test_the_schema_says_the_same(headshot: Document) -> None:
    schema = arguments_schema(headshot)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert schema["properties"]["prompt"]["maxLength"] == 1000
    assert "default" not in schema["properties"]["prompt"], "it is required"
    assert schema["properties"]["user_id"]["title"] == "User ID"
    assert schema["properties"]["prompt"]["examples"] == ["two blue squares on a white ground"]
    assert schema["properties"]["num_inference_steps"]["default"] == 25
    for given in (
        {},
        {"prompt": LONG, "user_id": "a"},
        {"prompt": "a", "user_id": "a b"},
        {"prompt": "a", "user_id": "a", "num_inference_steps": 0},
        {"prompt": "a", "user_id": "a", "other": 1},
        {"prompt": "a", "user_id": "a"},
        {"prompt": "a", "user_id": "a", "num_inference_steps": 7, "seed": 3},
    ):
        assert validator.is_valid(given) == (check_inputs(headshot, given) == ())


def problems(**changes: Any) -> list[str]:
    step = {
        "name": "code",
        "task": {"command": "qr_code", "arguments": {"qr_code_contents": "variable:text"}},
        "result": {"content_type": "image/png"},
    }
    text = {"id": "code", "variables": {"text": "dw", "any": None}, "steps": [step]} | changes
    return [each.message for each in validate_text(json.dumps(text), Path("code.json")).problems]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {"txt": {}}}, "there is no variable 'txt' (did you mean 'text'?)"),
        ({"required": ["txt"]}, "there is no variable 'txt' (did you mean 'text'?)"),
        ({"inputs": {"text": {"maxLenght": 3}}}, "unknown key 'maxLenght'"),
        ({"inputs": {"text": {"maxLength": -1}}}, "must be at least 0, got -1"),
        ({"inputs": {"text": {"minLength": 3, "maxLength": 2}}}, "'maxLength' 2 is below"),
        ({"inputs": {"any": {"minimum": 3, "maximum": 2.5}}}, "'maximum' 2.5 is below"),
        (
            {"inputs": {"text": {"pattern": "("}}},
            "is not a regular expression (unclosed group), got '('",
        ),
        ({"inputs": {"text": {"type": "text"}}}, "must be one of 'string'"),
        ({"inputs": {"text": {"maxLength": 1}}}, "the default does not fit the input of 'text'"),
        ({"inputs": {"text": {"enum": []}}}, "needs at least one item"),
        ({"required": "text"}, "must be a list"),
    ],
)
def test_wrong_declarations_are_told(changes: dict[str, Any], message: str) -> None:
    assert any(message in each for each in problems(**changes)), problems(**changes)


def test_right_declarations_are_not(headshot: Document) -> None:
    assert problems() == []
    assert problems(required=["any"], inputs={"any": {"type": "number", "maximum": 3}}) == []
    # The default of what must be given never counts.
    assert problems(required=["text"], inputs={"text": {"maxLength": 1}}) == []


@pytest.mark.parametrize(
    ("limits", "good", "bad"),
    [
        ({"enum": ["a", 2]}, ["a", 2], ["b", 3]),
        ({"type": "integer"}, [1], [1.5, "1", True]),
        ({"type": "number", "minimum": 0}, [0, 1.5], [-1, "1", True]),
        ({"type": "boolean"}, [True], [1, "true"]),
        ({"type": "array"}, [[1]], ["1"]),
        ({"type": "object"}, [{"a": 1}], [[1]]),
        ({"type": "string", "pattern": "[0-9]"}, ["a1"], ["a", 1]),
        ({"minLength": 2}, ["ab", 7], ["a"]),
    ],
)
def test_a_variable_of_any_type_has_the_type_of_its_input(
    limits: dict[str, Any], good: list[Any], bad: list[Any]
) -> None:
    text = {"id": "x", "variables": {"any": None}, "inputs": {"any": limits}, "steps": []}
    document = validate_text(json.dumps(text), Path("x.json")).document
    assert document is not None
    assert [value for value in good if check_inputs(document, {"any": value})] == []
    assert [value for value in bad if not check_inputs(document, {"any": value})] == []
