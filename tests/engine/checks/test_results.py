"""What a step makes against what its files hold, before it runs."""

from __future__ import annotations

from dataclasses import make_dataclass
from inspect import Parameter
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusionPipeline
from diffusers.utils import BaseOutput
from PIL import Image

from dw.engine.checks.results import (
    asked_size,
    check_name,
    check_pipeline_result,
    check_task_result,
    frame_size,
    output_fields,
)
from dw.engine.files.file_names import name_error
from dw.engine.media.limits import LONGEST_SIDE, side_error
from dw.engine.media.video import Video
from dw.workflow.format.result import Result
from tests.engine.session import Json, Session, workflow


def found(session: Session, step: Json, **top: Any) -> list[tuple[str, str]]:
    """Severity and message of each finding at the step's result or name."""
    document = session.document(workflow({"name": "gen", **step}, **top))
    return [(each.severity, each.message) for each in session.engine.check(document)]


def errors(session: Session, step: Json, **top: Any) -> list[str]:
    return [message for severity, message in found(session, step, **top) if severity == "error"]


def drawn(cls: str, content_type: str, **arguments: Any) -> Json:
    return {
        "pipeline": {
            "configuration": {"component_type": cls},
            "from_pretrained_arguments": {"model_name": "any/model"},
            "arguments": {"prompt": "a cat", **arguments},
        },
        "result": {"content_type": content_type},
    }


def done(command: str, content_type: str, **arguments: Any) -> Json:
    task = {"command": command, "arguments": arguments}
    return {"task": task, "result": {"content_type": content_type}}


IMAGES, VIDEOS = "StableDiffusionPipeline", "WanPipeline"
SOUNDS, FILMS = "StableAudioPipeline", "LTX2Pipeline"


@pytest.mark.parametrize(
    ("cls", "content_type", "things"),
    [
        (VIDEOS, "image/png", "videos"),
        (VIDEOS, "image/jpeg", "videos"),
        (VIDEOS, "audio/wav", "videos"),
        (VIDEOS, "text/plain", "videos"),
        ("AnimateDiffPipeline", "image/webp", "videos"),
        (FILMS, "image/png", "videos"),
        (IMAGES, "video/mp4", "images"),
        (IMAGES, "audio/flac", "images"),
        (IMAGES, "text/csv", "images"),
        (IMAGES, "application/json", "images"),
        ("FluxPipeline", "video/webm", "images"),
        ("MarigoldDepthPipeline", "video/mp4", "images"),
        (SOUNDS, "image/png", "audio"),
        (SOUNDS, "video/mp4", "audio"),
    ],
)
def test_a_file_that_cannot_hold_what_a_pipeline_makes_is_an_error(
    warm: Session, cls: str, content_type: str, things: str
) -> None:
    best = {"videos": "video/mp4 or image/gif", "images": "image/png", "audio": "audio/wav"}
    step = drawn(cls, content_type)
    if cls.startswith("Marigold"):
        step["pipeline"]["arguments"] = {"image": None}
    message = f"{content_type} cannot hold the {things} that {cls} makes; {best[things]} can"
    assert errors(warm, step) == [message]


@pytest.mark.parametrize(
    "step",
    [
        drawn(IMAGES, "image/png"),
        drawn(IMAGES, "image/gif"),
        drawn(VIDEOS, "video/mp4"),
        drawn(VIDEOS, "image/gif"),
        drawn(VIDEOS, "image/png", num_frames=1),
        drawn(FILMS, "audio/wav"),
        drawn(SOUNDS, "audio/ogg"),
        drawn(SOUNDS, "application/json"),
        drawn(VIDEOS, "application/json"),
        drawn(IMAGES, "application/json", output_type="{latent}"),
        drawn(VIDEOS, "image/png", output_type="{latent}"),
        drawn(VIDEOS, "image/png", return_dict=False),
        drawn("DiffusionPipeline", "video/mp4"),
        drawn("KandinskyCombinedPipeline", "video/mp4"),
        done("resize_rescale", "image/webp", image=None),
        done("get_dict_value", "video/mp4", dict={"a": 1}, key="a"),
        done("concat_videos", "audio/wav", videos=[]),
        done("extract_sections", "application/json", text="a", sections=["b"]),
        done("extract_sections", "text/markdown", text="a", sections=["b"]),
    ],
)
def test_what_a_file_may_hold_is_none(warm: Session, step: Json) -> None:
    assert errors(warm, step) == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (
            done("crop_square", "video/mp4", image=None),
            "video/mp4 cannot hold the images that crop_square makes; image/png can",
        ),
        (
            done("add_border_and_mask", "text/plain", image=None),
            "text/plain cannot hold the images that add_border_and_mask makes; image/png can",
        ),
        (
            done("gather_images", "audio/wav", urls=[]),
            "audio/wav cannot hold the images that gather_images makes; image/png can",
        ),
        (
            done("concat_videos", "image/png", videos=[]),
            "image/png cannot hold the videos that concat_videos makes; video/mp4 or image/gif can",
        ),
        (
            done("video_frames", "image/png", video=None),
            "image/png cannot hold the videos that video_frames makes; video/mp4 or image/gif can",
        ),
        (
            done("slice_audio", "image/png", audio=None),
            "image/png cannot hold the audio that slice_audio makes; audio/wav can",
        ),
        (
            done("extract_sections", "image/png", text="a", sections=["b"]),
            "image/png cannot hold the text that extract_sections makes; text/plain can",
        ),
    ],
)
def test_a_file_that_cannot_hold_what_a_command_makes_is_an_error(
    warm: Session, step: Json, message: str
) -> None:
    assert errors(warm, step) == [message]


def test_what_is_not_saved_may_be_anything(warm: Session) -> None:
    step = drawn(VIDEOS, "image/png")
    step["result"]["save"] = False
    assert errors(warm, step) == []


def test_the_fields_of_an_output_are_read_from_the_source() -> None:
    from diffusers import LTX2Pipeline, VersatileDiffusionPipeline, WanPipeline

    class Bare:
        __call__ = len

    assert output_fields(WanPipeline) == ("frames",)
    assert output_fields(LTX2Pipeline) == ("frames", "audio")
    assert output_fields(VersatileDiffusionPipeline) == ()
    assert output_fields(Bare) == ()


Output: Any = None


@pytest.mark.parametrize(
    ("names", "right", "wrong", "message"),
    [
        (["image"], "image/png", "text/plain", "the images that Draws makes; image/png can"),
        (
            ["video"],
            "video/mp4",
            "audio/wav",
            "the videos that Draws makes; video/mp4 or image/gif can",
        ),
        (["texts"], "text/csv", "image/png", "the text that Draws makes; text/plain can"),
        (
            ["video", "sound"],
            "audio/wav",
            "image/png",
            "the videos that Draws makes; video/mp4 or image/gif can",
        ),
    ],
)
def test_each_field_of_an_output_has_its_kind(
    session: Session,
    names: list[str],
    right: str,
    wrong: str,
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Draws:
        def __call__(self, is_path: bool) -> Any:
            if is_path:
                return Path()
            return Output()

    output = make_dataclass("Output", [(name, Any) for name in names], bases=(BaseOutput,))
    monkeypatch.setitem(globals(), "Output", output)
    assert output_fields(Draws) == tuple(names)
    told = []
    for content_type in (right, wrong):
        document = session.document(workflow({"name": "gen", **drawn(IMAGES, content_type)}))
        step = document.bind().steps[0]
        told += check_pipeline_result(Draws, {}, step, ("steps", 0))
    [found] = told
    assert found.message == f"{wrong} cannot hold {message}"
    assert found.path == ("steps", 0, "result", "content_type")


class TestPlaces:
    """Where in the workflow a finding is."""

    def step(self, session: Session, step: Json) -> Any:
        document = session.document(workflow({"name": "gen", **step}))
        return document.bind().steps[0]

    def test_of_a_command_are_its_content_type(self, session: Session) -> None:
        step = self.step(session, done("crop_square", "text/plain", image=None))
        [found] = check_task_result(step, ("steps", 0))
        assert found.path == ("steps", 0, "result", "content_type")

    def test_of_a_size_are_the_content_type(self, session: Session) -> None:
        large = done("resize_rescale", "image/webp", image=None, width=16_384, height=8)
        [found] = check_task_result(self.step(session, large), ("steps", 0))
        assert found.path == ("steps", 0, "result", "content_type")

    def test_of_a_name_are_what_makes_it_long(self, session: Session) -> None:
        step = done("crop_square", "image/png", image=None)
        step["result"]["file_base_name"] = "x" * 250
        long = {**done("crop_square", "image/png", image=None), "name": "s" * 250}
        for data, place, name in (
            (step, ("result", "file_base_name"), f"{'x' * 250}demo-gen.12-0.0.png"),
            (long, ("name",), f"demo-{'s' * 250}.12-0.0.png"),
        ):
            bound = session.document(workflow({"name": "gen", **data})).bind()
            [found] = check_name(bound, bound.steps[0], ("children", "a", "steps", 12))
            assert found.path == ("children", "a", "steps", 12, *place)
            assert f" {len(name)} bytes" in found.message

    def test_are_none_of_what_is_no_command(self, session: Session) -> None:
        step = self.step(session, drawn(IMAGES, "text/plain"))
        assert list(check_task_result(step, ("steps", 0))) == []

    def test_are_none_of_latents(self, session: Session) -> None:
        default = Parameter("output_type", Parameter.KEYWORD_ONLY, default="latent")
        for given, parameters in (
            ({"output_type": "{latent}"}, {}),
            ({}, {"output_type": default}),
        ):
            step = self.step(session, drawn(IMAGES, "text/plain", **given))
            cls: Any = StableDiffusionPipeline
            assert list(check_pipeline_result(cls, parameters, step, ("steps", 0))) == []

    def test_are_none_without_a_file(self, session: Session) -> None:
        bare = {"task": {"command": "crop_square", "arguments": {"image": None}}}
        unsaved = done("crop_square", "text/plain", image=None)
        unsaved["result"]["save"] = False
        for data in (bare, unsaved, {"name": "s" * 250, **bare}, {"name": "s" * 250, **unsaved}):
            bound = session.document(workflow({"name": "gen", **data})).bind()
            step = bound.steps[0]
            assert list(check_task_result(step, ("steps", 0))) == []
            assert list(check_name(bound, step, ("steps", 0))) == []


def test_the_size_of_frames_is_that_of_the_first_video() -> None:
    wide, high = Image.new("L", (64, 48)), Image.new("L", (48, 64))
    assert frame_size({"strength": 1, "video": Video([wide, high]), "mask": Video([high])}) == (
        64,
        48,
    )
    assert frame_size({"image": wide}) is None
    assert frame_size([Video([wide])]) is None
    assert asked_size("previous_result:a", {}) is None
    assert asked_size("previous_result:width and height", {}) is None
    assert asked_size({"width": 64}, {}) is None
    assert asked_size({"width": 64, "height": 32}, {}) == (64, 32)


class TestSizes:
    @pytest.mark.parametrize(
        ("content_type", "longest"),
        [("image/webp", 16_383), ("image/jpeg", 65_500), ("image/gif", 65_535)],
    )
    def test_of_images_have_limits(self, warm: Session, content_type: str, longest: int) -> None:
        command = {"image": None, "width": 64}
        fits = done("resize_center_crop", content_type, **command, height=min(longest, 16_384))
        assert not any("pixels a side" in message for message in errors(warm, fits))
        larger = drawn(IMAGES, content_type, width=64, height=longest // 8 * 8 + 8)
        got = f"64x{longest // 8 * 8 + 8}"
        message = f"{content_type} holds at most {longest} pixels a side, got {got}"
        assert errors(warm, larger) == [f"{message}; image/png holds more"]

    @pytest.mark.parametrize(("content_type", "longest"), LONGEST_SIDE.items())
    def test_are_reached_at_their_last_pixel(self, content_type: str, longest: int) -> None:
        assert side_error(longest, longest, content_type) is None
        assert side_error(longest + 1, 1, content_type) is not None
        assert side_error(1, longest + 1, content_type) is not None

    @pytest.mark.parametrize("content_type", ["image/png", "image/tiff", "image/bmp"])
    def test_of_others_have_none(self, warm: Session, content_type: str) -> None:
        assert errors(warm, drawn(IMAGES, content_type, width=200_000, height=64)) == []

    def test_of_videos_have_limits(self, warm: Session) -> None:
        step = drawn(VIDEOS, "video/mp4", width=16_400, height=64)
        [message] = errors(warm, step)
        assert message.startswith("video/mp4 holds at most 16384 pixels a side, got 16400x64")
        assert errors(warm, drawn(VIDEOS, "video/webm", width=16_400, height=64)) == []

    def test_of_commands_have_limits(self, warm: Session) -> None:
        step = done("resize_rescale", "image/webp", image=None, width=16_384, height=8)
        assert len(errors(warm, step)) == 1

    def test_that_are_defaults_count(self, warm: Session) -> None:
        step = drawn(VIDEOS, "video/mp4", width=833)
        notes = [message for severity, message in found(warm, step) if severity == "warning"]
        assert notes == [
            "a video of 833x480 is written as 834x480: H.264 needs even sides, so its last line is "
            "repeated; video/webm keeps its size"
        ]
        assert found(warm, drawn(VIDEOS, "video/webm", width=833)) == []

    def test_that_are_no_numbers_do_not(self, warm: Session) -> None:
        step = drawn(IMAGES, "image/webp", width=True, height=99_999)
        assert not any("pixels a side" in message for _, message in found(warm, step))


def test_a_gif_that_viewers_show_slowly_is_a_warning(warm: Session) -> None:
    step = drawn(VIDEOS, "image/gif")
    step["result"]["fps"] = 60
    [(severity, message)] = found(warm, step)
    assert severity == "warning"
    assert message.startswith("a GIF of 60 frames per second is slow in most viewers")
    step["result"]["fps"] = 50
    assert found(warm, step) == []


class TestNames:
    def test_have_at_most_255_bytes(self, warm: Session) -> None:
        rest = len("demo-gen.0-0.0.png")
        step = drawn(IMAGES, "image/png")
        step["result"]["file_base_name"] = "x" * (255 - rest)
        assert errors(warm, step) == []
        step["result"]["file_base_name"] += "x"
        [message] = errors(warm, step)
        assert message.startswith(
            "the names of its files would have 256 bytes, at most 255 are possible: 'xxxx"
        )

    def test_are_counted_in_bytes(self, warm: Session) -> None:
        step = drawn(IMAGES, "image/png")
        step["result"]["file_base_name"] = "猫" * 80
        [message] = errors(warm, step)
        assert "would have 258 bytes" in message

    def test_of_long_steps_are_errors_too(self, warm: Session) -> None:
        step = {**drawn(IMAGES, "image/png"), "name": "s" * 250}
        assert "would have 265 bytes" in errors(warm, step)[0]

    def test_that_no_file_can_have_are_errors(self) -> None:
        spec = Result(content_type="image/png", file_base_name="a\ud800")
        assert name_error(spec, "demo-gen.0") == "'\\ud800' cannot be in the name of a file"

    def test_are_judged_with_the_arguments_of_the_run(self, session: Session) -> None:
        step = drawn(IMAGES, "image/png")
        step["result"]["file_base_name"] = "variable:title"
        document = workflow({"name": "gen", **step}, variables={"title": "x"})
        assert session.engine.check(session.document(document)) == ()
        error = session.fail(document, title="a fox " * 60)
        assert "would have 378 bytes, at most 255 are possible" in error.message
        assert error.message.endswith("(argument 'title')")
        assert not (session.folder / "outputs").exists()
