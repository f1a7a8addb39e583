"""Run requests: what they take from where, and which timeout counts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dw.jobs.request import RunRequest, draw_seed, run_request
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.settings import Settings
from dw.types import Permissions
from dw.workflow import parse_document

WORKFLOW: dict[str, Any] = {
    "id": "demo",
    "variables": {"steps": 25, "limit": 60},
    "steps": [
        {
            "name": "gen",
            "pipeline": {
                "configuration": {"component_type": "FluxPipeline"},
                "from_pretrained_arguments": {"model_name": "nobody/tiny"},
                "arguments": {"prompt": "a cat", "num_inference_steps": "variable:steps"},
            },
            "result": {"content_type": "image/png"},
        }
    ],
}
PATH = Path("demo.json")


def opened(**changes: Any) -> OpenWorkflow:
    return OpenWorkflow(parse_document(json.dumps(WORKFLOW | changes), PATH))


def request(workflow: OpenWorkflow, settings: Settings | None = None, **options: Any) -> RunRequest:
    return run_request(workflow, settings or Settings(), Permissions(), run_id=1, **options)


def test_a_request_holds_the_document_its_arguments_and_the_settings() -> None:
    workflow = opened()
    workflow.set({"steps": "3"})
    settings = Settings(output_dir="out", device="cuda:1", rehearse=True)
    run = request(workflow, settings).run
    assert run.text == workflow.document.text
    assert run.arguments == {"steps": 3}
    assert (run.path, run.output_dir) == (str(PATH.absolute()), str(Path("out").absolute()))
    assert (run.device, run.rehearse) == ("cuda:1", True)
    assert request(workflow).run.device is None, "auto is the worker's choice"


@pytest.mark.parametrize(
    ("option", "own", "expected"),
    [(5.0, 60, 5.0), (5.0, None, 5.0), (None, 60, 60), (None, "variable:limit", 9)],
)
def test_the_option_comes_before_the_workflows_timeout(
    option: float | None, own: Any, expected: float
) -> None:
    workflow = opened(timeout=own)
    workflow.set({"limit": 9})
    assert request(workflow, timeout_s=option).timeout_s == expected


def test_the_setting_is_the_last_timeout() -> None:
    assert request(opened(), Settings(timeout=7.0)).timeout_s == 7.0


def test_a_seed_is_drawn_where_the_user_names_none() -> None:
    first, second = (request(opened()).run for _ in range(2))
    assert first.seed is second.seed is None
    assert first.drawn_seed != second.drawn_seed
    assert all(0 <= draw_seed() < 2**32 for _ in range(9))


def test_a_random_seed_is_the_drawn_one_and_overrides_the_workflows() -> None:
    workflow = opened(seed=4)
    workflow.set({"seed": "random"})
    assert request(workflow, drawn_seed=11).run.seed == 11


def test_a_seed_of_the_user_is_taken_as_it_is() -> None:
    workflow = opened()
    workflow.set({"seed": 8})
    assert request(workflow, drawn_seed=11).run.seed == 8


def test_a_repeated_request_has_the_same_seed_and_may_have_more_time() -> None:
    first = request(opened(), timeout_s=3.0)
    again = first.repeated(2)
    assert again == replace(first, run=replace(first.run, run_id=2))
    assert first.repeated(3, timeout_s=9.0).timeout_s == 9.0
