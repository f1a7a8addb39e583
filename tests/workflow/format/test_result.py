"""The keys of `result`: what they may be, and for which files they do something."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.samples import messages, parse, workflow

STEP = {"name": "t", "task": {"command": "gather_images", "arguments": {"urls": []}}}


def of_result(**result: Any) -> dict[str, Any]:
    return workflow({**STEP, "result": result})


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({"content_type": "video/mp3"}, "cannot be 'video/mp3' (did you mean 'video/mp4'?)"),
        ({"content_type": "video/mp4", "fps": 0}, "'fps' must be above 0, got 0"),
        ({"content_type": "video/mp4", "fps": "8"}, "'fps' must be a number, got '8'"),
        ({"content_type": "video/mp4", "fps": 1e9}, "'fps' must be at most 1000, got 1000000000.0"),
        ({"content_type": "audio/wav", "sample_rate": 44}, "'sample_rate' must be at least 1000"),
        ({"content_type": "audio/wav", "samplerate": "x"}, "'samplerate' must be an integer"),
        (
            {"content_type": "audio/wav", "sample_rate": 8000, "samplerate": 8000},
            "'samplerate' is another name of 'sample_rate', which is given",
        ),
        (
            {"content_type": "audio/ogg", "compression_level": 2},
            "'compression_level' must be at most 1, got 2",
        ),
        (
            {"content_type": "audio/mpeg", "bitrate_mode": "VARABLE"},
            "got 'VARABLE' (did you mean 'VARIABLE'?)",
        ),
        ({"content_type": "audio/wav", "subtpe": "FLOAT"}, "unknown key 'subtpe' (did you mean"),
    ],
)
def test_a_value_that_cannot_be_is_named(result: dict[str, Any], message: str) -> None:
    assert [each for each in messages(of_result(**result)) if message in each]


@pytest.mark.parametrize(
    ("result", "warning"),
    [
        ({"content_type": "image/png", "fps": 24}, "'fps' does nothing for image/png"),
        ({"content_type": "video/mp4", "subtype": "FLOAT"}, "'subtype' does nothing for video/mp4"),
        ({"content_type": "text/plain", "embed_metadata": True}, "'embed_metadata' does nothing"),
        ({"content_type": "image/gif", "fps": 24}, None),
        ({"content_type": "video/webm", "audio_sample_rate": 48_000, "fps": 23.976}, None),
        ({"content_type": "audio/wav", "samplerate": 48_000, "subtype": "PCM_24"}, None),
        ({"content_type": "audio/wav", "note": "for the radio"}, "unknown key 'note' is ignored"),
    ],
)
def test_a_key_that_does_nothing_is_told(result: dict[str, Any], warning: str | None) -> None:
    found = [each.message for each in parse(of_result(**result)).warnings]
    assert len(found) == (warning is not None)
    assert warning is None or found[0].startswith(warning)
