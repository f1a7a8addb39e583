"""The JSON Schema that ships with dw, as an editor would use it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from dw.__main__ import main
from dw.schema import FILE
from dw.workflow.jsonc import parse_json
from tests.workflow.samples import STEP, of_pipeline, of_task, pipeline, workflow

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").rglob("*.json"))
SCHEMA = json.loads(FILE.read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def places(data: Any) -> list[str]:
    """Where `data` is wrong, innermost places first."""
    errors = list(VALIDATOR.iter_errors(data))
    inner = [each for error in errors for each in (error.context or [])]
    return [error.json_path for error in [*inner, *errors]]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_is_valid_by_it(path: Path) -> None:
    assert places(parse_json(path.read_text(encoding="utf-8")).data) == []


@pytest.mark.parametrize(
    "data",
    [
        workflow(**{"$schema": "dw.schema.json", "_note": "hi", "notes": ["mine"]}),
        workflow(seed="variable:seed", variables={"seed": 5}),
        workflow({**STEP, "result": "variable:result"}, "variable:step"),
        of_pipeline(configuration={"component_type": "variable:cls", "offload": "variable:o"}),
        of_pipeline(configuration={"component_type": "X", "vae": {"enable_tiling": "variable:t"}}),
        of_pipeline(loras=[{"model_name": "a/b", "scale": "variable:s"}, "variable:lora"]),
        of_pipeline(loras="variable:loras", scheduler="variable:scheduler", vae=None),
        of_pipeline(arguments={"sigmas": "constant:a.B", "image": "previous_result:x", "n": [1]}),
        of_task(image="previous_result:x"),
        workflow({"name": "t", "task": {"command": "variable:command", "arguments": {}}}),
    ],
)
def test_references_are_admitted_where_the_format_has_them(data: Any) -> None:
    assert places(data) == []


@pytest.mark.parametrize(
    ("data", "place"),
    [
        ({"id": "w"}, "$"),
        (workflow(seed="5"), "$.seed"),
        (workflow(variables=["prompt"]), "$.variables"),
        (of_pipeline(configuration={"component_type": "X", "ofload": "model"}), "ofload"),
        (of_pipeline(configuration={"component_type": "X", "offload": "modell"}), "offload"),
        (of_pipeline(configuration={"component_type": "X", "device": "gpu"}), "device"),
        (of_pipeline(loras=[{"model_name": "a/b", "scal": 1}]), "loras[0]"),
        (of_pipeline(vae={**pipeline(), "arguments": {}}), "vae"),
        (workflow({"name": "t", "task": {"command": "crop_squre"}}), "command"),
    ],
)
def test_a_slip_is_marked(data: Any, place: str) -> None:
    errors = [f"{error.json_path} {error.message}" for error in _all(VALIDATOR.iter_errors(data))]
    assert any(place in error for error in errors), errors


def _all(errors: Any) -> Any:
    for error in errors:
        yield error
        yield from _all(error.context or [])


def test_the_arguments_of_a_command_are_named() -> None:
    task = SCHEMA["$defs"]["Task"]["allOf"]
    named = {
        each["if"]["properties"]["command"]["const"]: [
            *each["then"]["properties"]["arguments"]["properties"]
        ]
        for each in task
    }
    assert named["resize_center_crop"] == ["image", "width", "height"]


def test_every_key_says_what_it_is() -> None:
    for name, section in SCHEMA["$defs"].items():
        for key, node in section.get("properties", {}).items():
            is_listed = "$ref" in str(node.get("anyOf", node)) and "description" not in node
            assert node.get("description") or is_listed or not node, f"{name}.{key}"


def test_dw_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr("sys.argv", ["dw", "schema"])
    assert main() == 0
    assert json.loads(capsys.readouterr().out) == SCHEMA
