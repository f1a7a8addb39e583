"""How large a workflow may be, in each direction, and what is said beyond."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dw.errors import UsageError
from dw.workflow import loading, substitution
from dw.workflow.loading import load_document, validate_file
from tests.workflow.samples import messages, of_task, parse, workflow


def echo(name: str, inputs: Any) -> dict[str, Any]:
    return {"name": name, "task": {"command": "gather_inputs", "inputs": inputs}}


def calling(*names: str) -> dict[str, Any]:
    steps = enumerate(names)
    return workflow(*({"name": f"s{n}", "workflow": {"path": path}} for n, path in steps))


def test_a_workflow_has_at_most_1000_steps() -> None:
    steps = [echo(str(number), [1]) for number in range(1001)]
    assert parse(workflow(*steps[:-1]))
    assert messages(workflow(*steps)) == ["'steps' must have at most 1000 items"]


def test_a_command_runs_at_most_10000_times() -> None:
    assert parse(workflow(echo("a", [1] * 10_000)))
    assert messages(workflow(echo("a", [1] * 10_001))) == ["'inputs' must have at most 10000 items"]


def test_sub_workflows_are_counted_over_all_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One file under two names in each of 15 levels would be read 32,768 times."""
    monkeypatch.setattr(loading, "MOST_SUB_WORKFLOWS", 20)
    (tmp_path / "15.json").write_text(json.dumps(workflow(echo("a", [1]))))
    for level in range(15):
        below = f"{level + 1}.json"
        (tmp_path / f"{level}.json").write_text(json.dumps(calling(below, f"./{below}")))
    found = {each.message for each in validate_file(tmp_path / "0.json").problems}
    assert found == {"there are more than 20 sub-workflows"}


def test_as_many_sub_workflows_as_are_allowed_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "MOST_SUB_WORKFLOWS", 3)
    for name in "abc":
        (tmp_path / f"{name}.json").write_text(json.dumps(workflow(echo("a", [1]))))
    (tmp_path / "w.json").write_text(json.dumps(calling("a.json", "b.json", "c.json")))
    assert len(load_document(tmp_path / "w.json").children) == 3


LISTS = workflow(*(echo(str(number), "variable:list") for number in range(3)))


def test_variables_fill_in_a_limited_number_of_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(substitution, "MOST_VALUES", 30)
    small = {**LISTS, "variables": {"list": [1] * 9}}
    assert parse(small).bind()
    message = "the variables stand for 33 values in all places; at most 30 are filled"
    assert messages({**LISTS, "variables": {"list": [1] * 10}}) == [message]
    with pytest.raises(UsageError, match=message):
        parse(small).bind({"list": [1] * 10})


def test_a_large_value_of_a_variable_that_is_used_once_is_fine() -> None:
    data = of_task(image="variable:x") | {"variables": {"x": None, "unused": [1] * 100}}
    assert parse(data).bind({"x": [[1] * 100] * 100})
