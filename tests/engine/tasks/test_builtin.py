"""The workflows that come with dw are valid, fit the libraries and rehearse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from dw.engine import Engine
from dw.workflow import load_document
from dw.workflow.builtin import builtin_names, require_builtin
from tests.engine.session import Session

ARGUMENTS: dict[str, dict[str, Any]] = {
    "augment_prompt": {"prompt": "a fox"},
    "describe_image": {"image": "cat.png"},
    "h3_context_ir": {"prompt": "a fox", "image": "cat.png"},
    "test": {},
}


def test_each_is_named_here() -> None:
    assert builtin_names() == tuple(ARGUMENTS)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_each_is_valid_and_says_what_it_is(name: str) -> None:
    document = load_document(require_builtin(f"builtin:{name}.json"))
    assert document.id == name
    assert document.description
    assert (document.warnings, Engine().check(document)) == ((), ())


@pytest.mark.parametrize("name", ARGUMENTS)
def test_each_is_rehearsed_in_a_step(session: Session, cat: Path, name: str) -> None:
    step = {"name": "inner", "workflow": {"path": f"builtin:{name}", "arguments": ARGUMENTS[name]}}
    [output] = session.run({"id": "outer", "steps": [step]}, rehearse=True).outputs
    assert output.nbytes > 0
