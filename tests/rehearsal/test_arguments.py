"""What a rehearsal leaves out, and what it does not."""

from __future__ import annotations

from inspect import Parameter
from typing import Any

import pytest

from dw.rehearsal.arguments import chosen, replacement_note, smaller


def parameters(**defaults: Any) -> dict[str, Parameter]:
    return {
        name: Parameter(name, Parameter.KEYWORD_ONLY, default=default)
        for name, default in defaults.items()
    }


IMAGE = parameters(prompt=None, height=None, width=None, num_inference_steps=50, image=None)
VIDEO = parameters(height=480, width=832, num_frames=81, num_inference_steps=50)
AUDIO = parameters(num_inference_steps=100, audio_end_in_s=None)


@pytest.mark.parametrize(
    ("taken", "arguments", "replaced"),
    [
        (IMAGE, {}, {"num_inference_steps": 4, "height": 256, "width": 256}),
        (IMAGE, {"num_inference_steps": 2, "height": 64, "width": 64}, {}),
        (
            IMAGE,
            {"num_inference_steps": 3, "height": 1024, "width": 768},
            {"height": 256, "width": 192},
        ),
        (IMAGE, {"num_inference_steps": 3, "image": "a picture"}, {}),
        (IMAGE, {"image": "a picture", "strength": 0.3}, {"num_inference_steps": 10}),
        (VIDEO, {}, {"num_inference_steps": 4, "num_frames": 17, "height": 128, "width": 256}),
        (VIDEO, {"num_frames": 9, "height": 64, "width": 64}, {"num_inference_steps": 4}),
        (AUDIO, {"audio_end_in_s": 30}, {"num_inference_steps": 4, "audio_end_in_s": 5.0}),
        (AUDIO, {"num_inference_steps": 1}, {"audio_end_in_s": 5.0}),
        ({}, {"num_inference_steps": 30, "height": 64, "width": 64}, {"num_inference_steps": 4}),
    ],
)
def test_what_takes_long_is_replaced(
    taken: dict[str, Parameter], arguments: dict[str, Any], replaced: dict[str, Any]
) -> None:
    assert smaller(taken, arguments, ()) == replaced


def test_what_the_user_chose_stays() -> None:
    arguments = {"num_inference_steps": 30, "height": 512, "width": 512}
    assert smaller(IMAGE, arguments, ("height",)) == {"num_inference_steps": 4}


def test_a_pipeline_of_long_videos_makes_its_shortest() -> None:
    arguments = {"num_frames": 345, "height": 64, "width": 64}
    assert smaller({}, arguments, (), frames=124) == {"num_frames": 124}


def test_a_size_of_the_pipelines_own_choice_is_refused() -> None:
    taken = IMAGE | parameters(use_resolution_binning=True)
    assert smaller(taken, {"height": 1024, "width": 1024}, ())["use_resolution_binning"] is False


def test_only_what_was_asked_for_is_told() -> None:
    assert replacement_note({"height": 1024}, {"height": 256, "use_resolution_binning": False}) == (
        "rehearsed with height=256 instead of 1024"
    )
    assert replacement_note({}, {"height": 256}) is None


def test_an_argument_is_chosen_when_its_variable_is() -> None:
    call = {"width": "variable:side", "height": "variable:other", "prompt": "variable: side"}
    assert chosen(call, {"side"}) == {"width"}
