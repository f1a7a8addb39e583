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


def test_people_name_what_their_files_name(session: Session) -> None:
    given = {"prompt": "a fox", "max_new_tokens": 8, "device": "cpu", "keep_preamble": False}
    texts = []
    for names in ({"model_name": "some/model"}, {"model": "some/model"}, {}):
        arguments = {**given, **names}
        inner = {"path": "builtin:h3_context_ir", "arguments": arguments}
        outer = {"id": "outer", "steps": [{"name": "inner", "workflow": inner}]}
        run = session.run(outer, rehearse=True)
        texts.append([output.sha256 for output in run.outputs])
    assert texts[0] == texts[1]
    assert all(texts)
    document = load_document(require_builtin("builtin:h3_context_ir"))
    assert document.variables["model_name"] == "Qwen/Qwen3-4B-Instruct-2507"
    assert (document.variables["max_new_tokens"], len(document.variables["sections"])) == (1200, 7)


def test_the_smoke_test_makes_as_many_images_as_it_is_asked_for(session: Session) -> None:
    inner = {"path": "builtin:test", "arguments": {"num_images_per_prompt": 2}}
    outer = {"id": "outer", "steps": [{"name": "inner", "workflow": inner}]}
    assert len(session.run(outer, rehearse=True).outputs) == 2
