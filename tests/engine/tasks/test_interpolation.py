"""The command that draws images between the frames of a video."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from dw.engine import RunControl
from dw.engine.files.access import FileAccess
from dw.engine.media.audio import Audio
from dw.engine.media.encoding import encode
from dw.engine.media.video import Video
from dw.engine.tasks import TaskContext, models_of, run_task
from dw.engine.tasks.rife import IFNet
from dw.errors import RunFailed
from dw.events import Stepped
from dw.rehearsal.task_stand_ins import Blender
from dw.workflow.format.result import Result
from tests.engine.session import Json, Session, workflow
from tests.engine.tasks.commands import step

RATE, FPS = 8000, 10
MP4: Json = {"content_type": "video/mp4"}


def grey(level: int, size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new("RGB", size, (level,) * 3)


def smoothed(video: Any, **arguments: Any) -> Video:
    context = TaskContext(FileAccess(Path()), lambda: None, models={"model": Blender()})
    [result] = run_task("interpolate_frames", {"video": video, **arguments}, context)
    return result


def levels(video: Video) -> list[int]:
    return [frame.getpixel((0, 0))[0] for frame in video]


def test_frames_lie_evenly_between_those_of_the_video() -> None:
    video = smoothed([grey(0), grey(80), grey(40)], multiplier=4)
    assert levels(video) == [0, 20, 40, 60, 80, 70, 60, 50, 40, 40, 40, 40]


@pytest.mark.parametrize("multiplier", [2, 4, 8])
def test_a_video_keeps_its_length_and_its_audio(multiplier: int) -> None:
    audio = Audio(np.zeros((RATE // 2, 2), np.float32), RATE)
    video = smoothed(Video([grey(0)] * 5, audio, FPS), multiplier=multiplier)
    assert (len(video), video.fps) == (5 * multiplier, FPS * multiplier)
    assert video.audio is audio


def test_frames_without_a_rate_have_the_one_that_they_would_be_saved_with() -> None:
    assert smoothed([grey(0), grey(1)]).fps == 2 * 8


def test_one_image_is_shown_as_long_as_before() -> None:
    video = smoothed(Video([grey(7)], fps=FPS), multiplier=8)
    assert (levels(video), video.fps) == ([7] * 8, FPS * 8)


def test_frames_may_be_see_through_or_an_array() -> None:
    array = np.stack([np.full((16, 16, 3), level, np.uint8) for level in (0, 100)])
    assert levels(smoothed(array)) == [0, 50, 100, 100]
    assert levels(smoothed([grey(0).convert("RGBA"), grey(100)])) == [0, 50, 100, 100]


def test_frames_of_several_sizes_are_named() -> None:
    with pytest.raises(RunFailed) as caught:
        smoothed([grey(0), grey(0, (32, 16))])
    assert caught.value.message == (
        "frames of several sizes cannot be interpolated: 16x16 and 32x16"
    )


@pytest.mark.parametrize(
    ("arguments", "model_name", "filename"),
    [
        ({}, "imaginairy/rife-interpolation", "rife-flownet-4.13.2.safetensors"),
        ({"model_name": "a/b", "filename": "flownet.pkl"}, "a/b", "flownet.pkl"),
        ({"model_name": "rife.safetensors"}, "rife.safetensors", None),
    ],
)
def test_the_weights_are_those_that_are_named(
    arguments: Json, model_name: str, filename: str | None
) -> None:
    part = models_of("interpolate_frames", {"video": [], **arguments})["model"]
    assert (part.cls, part.source, part.files) == (IFNet, model_name, (filename,))


class TestInAWorkflow:
    @pytest.fixture(autouse=True)
    def video(self, session: Session) -> None:
        audio = Audio(np.zeros((RATE, 1), np.float32), RATE)
        data = encode(Video([grey(9 * n, (48, 32)) for n in range(10)], audio, FPS), Result(**MP4))
        (session.folder / "video.mp4").write_bytes(data.data)

    def smooth(self, **arguments: Any) -> Json:
        return workflow(step("interpolate_frames", MP4, video="video.mp4", **arguments))

    def test_a_saved_video_has_the_frames_and_the_rate(self, session: Session) -> None:
        [output] = session.run(self.smooth(multiplier=4), rehearse=True).outputs
        assert (output.frames, output.seconds) == (40, 1)
        counted = [event for event in session.seen(Stepped) if event.phase == "frame"]
        assert (counted[-1].done, counted[-1].total) == (10, 10)

    def test_the_network_is_kept_for_the_next_run(self, session: Session) -> None:
        session.run(self.smooth(), rehearse=True)
        assert session.loaded == ("interpolate_frames.model",)
        session.run(self.smooth(multiplier=8), rehearse=True)
        assert session.loaded == ()

    def test_a_network_from_a_file_draws(self, session: Session) -> None:
        with torch.device("meta"):
            weights = IFNet().state_dict()
        still = {name: torch.zeros(weight.shape) for name, weight in weights.items()}
        save_file(still, session.folder / "rife.safetensors")
        [output] = session.run(self.smooth(model_name="rife.safetensors")).outputs
        assert (output.frames, output.seconds) == (20, 1)
        [row] = session.engine.memory().components
        assert (row.class_name, row.nbytes) == ("IFNet", 21_457_248)

    def test_a_cancel_is_taken_between_two_images(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        control, made = RunControl(), []

        def cancels_at_the_third(_net: Blender, first: Any, *_: Any) -> Iterator[Any]:
            for number in (1, 2, 3, 4):
                made.append(number)
                if number == 3:
                    control.cancel()
                yield first

        monkeypatch.setattr(Blender, "forward", cancels_at_the_third)
        session.cancel(self.smooth(multiplier=8), control, rehearse=True)
        assert made == [1, 2, 3]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"multiplier": 3}, "'multiplier' must be one of 2, 4 or 8, got 3"),
            ({"multiplier": "2"}, "'multiplier' must be one of 2, 4 or 8, got '2'"),
            ({"factor": 2}, "interpolate_frames takes no 'factor'"),
        ],
    )
    def test_what_does_not_fit_is_told_before_anything_loads(
        self, session: Session, arguments: Json, message: str
    ) -> None:
        [problem] = session.engine.check(session.document(self.smooth(**arguments)))
        assert message in str(problem)
