"""Unknown keys: errors wherever they could have changed what a step makes, but for notes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.samples import messages, of_pipeline, parse, pipeline, workflow

RESULT = {"content_type": "image/png"}


def with_key(key: str) -> dict[str, Any]:
    """The same key in each object of a step that users write by themselves."""
    step = {"name": "gen", "pipeline": pipeline(**{key: 1}), "result": {**RESULT, key: 1}, key: 1}
    again = {"reference_name": "gen", "arguments": {}}
    task = {"command": "crop_square", "arguments": {"image": "a.png"}, key: 1}
    sub = {"path": "builtin:augment_prompt.json", "arguments": {}, key: 1}
    return workflow(
        step,
        {"name": "again", "pipeline_reference": again},
        {"name": "crop", "task": task},
        {"name": "sub", "workflow": sub},
    )


def test_in_a_step_it_is_an_error_that_names_the_known_ones() -> None:
    found = [each for each in messages(with_key("embedding_files")) if "embedding_files" in each]
    assert len(found) == 5
    assert all(each.startswith("unknown key 'embedding_files'; known are ") for each in found)


@pytest.mark.parametrize("key", ["notes", "comment", "_mine", "$mine"])
def test_a_note_is_none(key: str) -> None:
    found = [each.message for each in parse(with_key(key)).warnings]
    is_told = key.isalpha()
    assert found == [f"unknown key {key!r} is ignored"] * 5 * is_told


def test_beside_the_steps_any_key_is_a_note() -> None:
    document = parse({**of_pipeline(), "embedding_files": 1})
    assert [each.message for each in document.warnings] == [
        "unknown key 'embedding_files' is ignored"
    ]
