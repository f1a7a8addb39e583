"""The keys of `chain`, and what it asks of the arguments beside it."""

from __future__ import annotations

from typing import Any

import pytest

from dw.workflow.format.chain import FrameSnap
from tests.workflow.samples import PIPELINE, STEP, messages, parse, pipeline, workflow

ARGUMENTS = {"prompt": "a fox", "image": "fox.png", "num_frames": 81}


def of_chain(arguments: dict[str, Any] | None = None, **chain: Any) -> dict[str, Any]:
    """A workflow whose pipeline step has this chain."""
    given = ARGUMENTS if arguments is None else {**ARGUMENTS, **arguments}
    return workflow({"name": "gen", "pipeline": pipeline(chain=chain, arguments=given)})


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ({}, "'chain' needs 'segments' or 'match_audio'"),
        ({"match_audio": False}, "'chain' needs 'segments' or 'match_audio'"),
        ({"segments": 3, "match_audio": True}, "'segments' and 'match_audio' exclude each other"),
        ({"segments": 0}, "'segments' must be at least 1, got 0"),
        ({"segments": 1001}, "'segments' must be at most 1000, got 1001"),
        ({"segments": "3"}, "'segments' must be an integer, got '3'"),
        (
            {"segments": 3, "segmnt_argument": "image"},
            "unknown key 'segmnt_argument' (did you mean",
        ),
        (
            {"segments": 3, "continuity": "last_frames"},
            "'continuity' must be one of 'last_frame', 'last_segment', got 'last_frames' "
            "(did you mean 'last_frame'?)",
        ),
        ({"segments": 3, "trim_frames": -1}, "'trim_frames' must be at least 0, got -1"),
        (
            {"segments": 3, "trim_frames": 81},
            "'trim_frames' must be below 'num_frames', which is 81, got 81",
        ),
        ({"segments": 3, "carry_frames": 0}, "'carry_frames' must be at least 1, got 0"),
        ({"segments": 3, "crossfade_ms": -5}, "'crossfade_ms' must be at least 0, got -5"),
        ({"segments": 3, "fps": 0}, "'fps' must be above 0, got 0"),
        ({"segments": 3, "prompts": "a dog"}, "'prompts' must be a list, got 'a dog'"),
        ({"segments": 3, "prompts": [""]}, "'prompts[0]' cannot be empty"),
        ({"segments": 3, "frame_snap": {}}, "'frame_snap' needs 'modulus'"),
        (
            {"segments": 3, "frame_snap": {"modulus": 4, "reminder": 1}},
            "unknown key 'reminder' (did you mean 'remainder'?)",
        ),
        (
            {"segments": 3, "frame_snap": {"modulus": 4, "remainder": 4}},
            "'remainder' must be below 'modulus', got 4",
        ),
        (
            {"segments": 3, "frame_snap": {"modulus": 4, "min_frames": 9, "max_frames": 5}},
            "'max_frames' must be at least 9, got 5",
        ),
        (
            {"segments": 3, "frame_snap": {"modulus": 8, "remainder": 3}},
            "'num_frames' must be 8n+3, at least 1, such as 83, got 81",
        ),
        (
            {"segments": 3, "continuity": "last_segment", "segment_argument": "references"},
            "'last_segment' needs a list of references in the argument 'references'",
        ),
        (
            {"match_audio": True},
            "'match_audio' needs a list of references with audio in the argument 'references'",
        ),
        ({"segments": 3, "prompts": ["previous_result:story"]}, "unknown step 'story'"),
        (
            {"segments": 3, "segment_argument": "previous_result:story"},
            "'segment_argument' cannot be a result: only 'arguments' and 'inputs' take results",
        ),
    ],
)
def test_what_makes_no_chain_is_named(chain: dict[str, Any], message: str) -> None:
    assert [each for each in messages(of_chain(**chain)) if each.startswith(message)]


@pytest.mark.parametrize(
    ("chain", "warning"),
    [
        ({"carry_frames": 9}, "'carry_frames' does nothing without 'continuity': 'last_segment'"),
        ({"carry_audio": True}, "'carry_audio' does nothing without 'continuity': 'last_segment'"),
        ({"keep_segments": True}, "'keep_segments' does nothing without 'save_segments'"),
    ],
)
def test_a_key_that_does_nothing_is_told(chain: dict[str, Any], warning: str) -> None:
    [found] = parse(of_chain(segments=3, **chain)).warnings
    assert found.message == warning


def test_numbers_may_be_variables() -> None:
    names = ("segments", "trim_frames", "crossfade_ms", "fps")
    data = of_chain(**{name: f"variable:{name}" for name in names})
    data["variables"] = {"segments": 3, "trim_frames": 2, "crossfade_ms": 50, "fps": 24}
    chain = parse(data).bind({"segments": 5}).steps[0].chain
    assert chain is not None
    assert (chain.segments, chain.trim_frames, chain.crossfade_ms, chain.fps) == (5, 2, 50, 24)


def test_a_prompt_may_be_the_result_of_an_earlier_step() -> None:
    story = {"name": "story", "task": {"command": "extract_sections", "arguments": {"text": "x"}}}
    data = workflow(story, *of_chain(segments=2, prompts=["a", "previous_result:story"])["steps"])
    assert parse(data).warnings == ()


def test_a_reference_to_a_pipeline_may_chain_as_well() -> None:
    chain = {"segments": 2, "trim_frames": 0}
    again = {"reference_name": "gen", "arguments": PIPELINE["arguments"], "chain": chain}
    document = parse(workflow(STEP, {"name": "again", "pipeline_reference": again}))
    found = document.bind().steps[1].chain
    assert found is not None
    assert found.segments == 2


@pytest.mark.parametrize(
    ("modulus", "remainder", "frames", "fits"),
    [(4, 1, 81, True), (4, 1, 80, False), (8, 1, 81, True), (1, 0, 7, True), (8, 0, 81, False)],
)
def test_lengths_that_a_model_can_make(
    modulus: int, remainder: int, frames: int, fits: bool
) -> None:
    assert FrameSnap(modulus=modulus, remainder=remainder).fits(frames) == fits
