from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from dw.engine import RunResult
from dw.engine.calls.calling import seeded_generator
from dw.errors import UsageError
from dw.events import Started
from dw.seeds import MAX_SEED
from tests.engine.session import Json, Session, generate, workflow

MODEL = "any/model"


def run(session: Session, document: Json, seed: int | None) -> tuple[RunResult, Any, list[str]]:
    """What a rehearsal says, its record and its warnings of seeds."""
    result = session.run(document, seed=seed, rehearse=True)
    record = json.loads((Path(result.output_dir) / "run.json").read_text())
    told = [text for text in session.warnings if text.startswith("seed")]
    return result, record["steps"], told


def test_the_seed_that_is_shown_is_the_one_that_is_used(warm: Session) -> None:
    result, steps, told = run(warm, workflow(generate(MODEL, seed=5)), seed=1)
    assert warm.seen(Started)[0].seed == result.seed == 5
    assert steps == [{"name": "gen", "seed": 5}]
    assert told == ["seed 1 has no effect: the workflow sets the seed of each step: gen 5"]


def test_nothing_is_told_when_no_seed_was_typed(warm: Session) -> None:
    result, _, told = run(warm, workflow(generate(MODEL, seed=5)), seed=None)
    assert (result.seed, told) == (5, [])


def test_a_seed_counts_as_long_as_one_step_has_none(warm: Session) -> None:
    own = {**generate(MODEL), "name": "own", "seed": 5}
    result, steps, told = run(warm, workflow(own, generate(MODEL)), seed=1)
    assert steps == [{"name": "own", "seed": 5}, {"name": "gen", "seed": 1}]
    assert (result.seed, told) == (1, [])


def test_the_seed_of_a_sub_workflow_counts(warm: Session) -> None:
    child = workflow(generate(MODEL), id="child", seed="variable:seed", variables={"seed": 3})
    (warm.folder / "child.json").write_text(json.dumps(child))
    call = {"name": "sub", "workflow": {"path": "child.json", "arguments": {"seed": 4}}}
    result, steps, told = run(warm, workflow(call), seed=1)
    assert steps == [{"name": "sub.gen", "seed": 4}]
    assert result.seed == 4
    assert told == ["seed 1 has no effect: the workflow sets the seed of each step: sub.gen 4"]


def test_without_pipelines_the_typed_seed_is_shown(warm: Session) -> None:
    task = {"name": "t", "task": {"command": "gather_inputs", "inputs": [1]}}
    assert warm.run(workflow(task), seed=8).seed == 8


def test_a_seed_out_of_range_is_refused_before_there_is_a_run(warm: Session) -> None:
    for seed in (-1, 2**32):
        with pytest.raises(UsageError, match=f"seed must be an integer from 0 .*, got {seed}"):
            warm.run(workflow(generate(MODEL)), seed=seed)


def test_no_two_seeds_of_the_range_draw_the_same_noise() -> None:
    noise = [torch.rand(8, generator=seeded_generator(seed)) for seed in (0, 1, 2**31, MAX_SEED)]
    assert len({tuple(each.tolist()) for each in noise}) == len(noise)
