"""What the last run of a workflow taught is used for the same text alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dw.engine.execution.remembered import Remembered, digest_of
from dw.workflow import Document, parse_document


def parsed(tmp_path: Path, name: str) -> Document:
    text = f'{{"id": "{name}", "steps": [{{"name": "a", "task": {{"command": "gather_inputs"}}}}]}}'
    return parse_document(text, tmp_path / "demo.json")


@pytest.fixture
def document(tmp_path: Path) -> Document:
    return parsed(tmp_path, "demo")


def test_a_value_belongs_to_one_text(tmp_path: Path, document: Document) -> None:
    remembered: Remembered[str] = Remembered()
    assert remembered.of(document) is None
    remembered.keep(document, "model")
    assert remembered.of(document) == "model"
    assert remembered.of(parsed(tmp_path, "edited")) is None


def test_it_can_be_forgotten(document: Document) -> None:
    remembered: Remembered[str] = Remembered()
    remembered.keep(document, "model")
    remembered.forget()
    assert remembered.of(document) is None


def test_the_text_of_a_sub_workflow_counts(tmp_path: Path, document: Document) -> None:
    children = ({}, *({"child.json": parsed(tmp_path, name)} for name in ("child", "edited")))
    assert len({digest_of(replace(document, children=each)) for each in children}) == 3
