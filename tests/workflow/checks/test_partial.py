from __future__ import annotations

from typing import Any

import pytest

from dw.workflow.checks.partial import partial_workflow
from tests.workflow.samples import STEP, of_task, pipeline, workflow


def of_step(**changes: Any) -> dict[str, Any]:
    return workflow({**STEP, **changes})


def test_what_is_right_stays_as_it_is() -> None:
    [step] = partial_workflow(of_step(seed=5)).steps
    assert (step.name, step.seed, step.pipeline is not None) == ("gen", 5, True)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": "5"},
        {"result": {}},
        {"result": []},
        {"pipeline": pipeline(loras=[{"model_name": "a/b"}, 5])},
        {"pipeline": pipeline(loras=[{"model_name": "a/b", "scale": "big"}])},
        {"pipeline": pipeline(scheduler={"shift": "x"}, seed=[])},
        {"pipeline": pipeline(configuration={"component_type": "X", "vae": {"enable_tiling": 5}})},
    ],
)
def test_an_optional_value_that_is_wrong_is_left_out(changes: dict[str, Any]) -> None:
    [step] = partial_workflow(of_step(**changes)).steps
    assert step.pipeline is not None
    assert step.pipeline.arguments == {"prompt": "a fox"}


@pytest.mark.parametrize(
    "step",
    [
        5,
        {"name": "t", "task": {"command": 5}},
        {"name": "t", "task": {"command": "x", "arguments": []}},
        {"name": "t", "task": {"command": "x", "inputs": {}}},
        {"name": "t", "pipeline": {"arguments": {}}},
        {"name": "t", "pipeline": pipeline(arguments=None)},
    ],
)
def test_a_step_that_cannot_be_without_does_nothing(step: Any) -> None:
    first, second = partial_workflow({"steps": [step, *of_task(image="a.png")["steps"]]}).steps
    assert (first.pipeline, first.task) == (None, None)
    assert second.task is not None


@pytest.mark.parametrize("data", [{}, {"steps": 5}, {"steps": []}, {"id": []}])
def test_without_steps_there_is_nothing_to_judge(data: dict[str, Any]) -> None:
    assert partial_workflow(data).steps == ()
