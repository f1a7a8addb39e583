from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.ltx2.pipeline_output import LTX2PipelineOutput
from diffusers.pipelines.marigold import (
    MarigoldDepthOutput,
    MarigoldIntrinsicsOutput,
    MarigoldNormalsOutput,
)
from diffusers.pipelines.pipeline_utils import AudioPipelineOutput
from diffusers.pipelines.stable_diffusion.pipeline_output import StableDiffusionPipelineOutput
from diffusers.pipelines.wan.pipeline_output import WanPipelineOutput
from PIL import Image

from dw.engine.calls.calling import call
from dw.engine.cancellation import RunControl
from dw.engine.files.artifacts import Results, artifacts, on_host
from dw.engine.media.audio import Audio, as_audio
from dw.engine.media.video import Video
from dw.errors import RunFailed
from dw.workflow.format.configuration import Configuration

IMAGES = [Image.new("L", (8, 8), shade) for shade in (0, 1, 2)]
FRAMES = np.zeros((2, 5, 8, 8, 3), np.float32)  # (batch, frames, height, width, channels)
AUDIO = torch.zeros(2, 2, 900)  # (batch, channels, samples)


def told(output: Any, rate: int) -> Any:
    output.audio_sample_rate = rate
    return output


@pytest.mark.parametrize("whole", [Video(IMAGES), as_audio(np.zeros(9)), "words", {"a": 1}])
def test_what_is_one_thing_already_stays_one(whole: Any) -> None:
    assert artifacts(whole) == [whole]


def test_a_list_is_its_items() -> None:
    assert artifacts(IMAGES) == IMAGES


def test_images_come_one_by_one() -> None:
    assert artifacts(StableDiffusionPipelineOutput(IMAGES, None)) == IMAGES
    assert artifacts(SimpleNamespace(images=IMAGES, audio=AUDIO)) == IMAGES


@pytest.mark.parametrize("name", ["image", "image_embeds", "image_embeddings", "texts"])
def test_other_artifacts_come_one_by_one(name: str) -> None:
    assert artifacts(SimpleNamespace(**{name: np.arange(3)})) == [0, 1, 2]


def test_frames_alone_are_one_array_for_each_video() -> None:
    assert [frames.shape for frames in artifacts(WanPipelineOutput(FRAMES))] == [(5, 8, 8, 3)] * 2


def test_frames_with_audio_are_videos() -> None:
    output = told(LTX2PipelineOutput(FRAMES, AUDIO), 24_000)
    output.frame_rate = 25.0
    videos = artifacts(output)
    assert [video.fps for video in videos] == [25.0, 25.0]
    assert [(len(video), video.audio.samples.shape, video.audio.rate) for video in videos] == [
        (5, (900, 2), 24_000)
    ] * 2


def test_a_video_without_its_audio_is_not_lost() -> None:
    with pytest.raises(ValueError, match="shorter"):
        artifacts(LTX2PipelineOutput(FRAMES, AUDIO[:1]))


def test_one_video_with_sound_has_its_rates() -> None:
    rates = {"audio_sample_rate": 48_000, "frame_rate": 24.0}
    [video] = artifacts(SimpleNamespace(video=FRAMES[0], sound=AUDIO[0], **rates))
    assert (len(video), video.fps) == (5, 24.0)
    assert (video.audio.samples.shape, video.audio.rate) == ((900, 2), 48_000)
    [frames] = artifacts(SimpleNamespace(video=FRAMES[0], sound=None, **rates))
    assert frames is not None
    assert frames.shape == (5, 8, 8, 3)


def test_audio_that_was_not_made_is_none() -> None:
    assert isinstance(artifacts(LTX2PipelineOutput(FRAMES, None))[0], np.ndarray)


def test_waveforms_are_audio_of_samples_and_channels() -> None:
    audios = artifacts(told(AudioPipelineOutput(AUDIO.numpy()), 44_100))
    assert [(audio.samples.shape, audio.rate) for audio in audios] == [((900, 2), 44_100)] * 2


class TestModular:
    def test_videos_are_paired_with_their_audio(self) -> None:
        videos = artifacts({"videos": FRAMES, "audio": AUDIO, "sampling_rate": 48_000})
        assert [(len(video), video.audio.rate) for video in videos] == [(5, 48_000)] * 2

    def test_what_is_left_over_comes_last(self) -> None:
        *videos, rest = artifacts({"videos": FRAMES, "latents": 1})
        assert len(videos) == 2
        assert rest == {"latents": 1}

    def test_without_videos_it_is_one_mapping(self) -> None:
        assert artifacts({"audio": AUDIO}) == [{"audio": AUDIO}]


class Talks:
    """A pipeline as far as a call sees it."""

    def __init__(self, **components: Any) -> None:
        self.components = components
        vars(self).update(components)

    def __call__(self, **arguments: Any) -> Any:
        self.arguments = arguments
        return AudioPipelineOutput(AUDIO)


def called(pipeline: Talks, **arguments: Any) -> Any:
    configuration = Configuration.model_validate({"component_type": "Talks"})
    return call(
        pipeline,
        arguments,
        RunControl(),
        configuration=configuration,
        warn=pytest.fail,
        tell=pytest.fail,
    )


@pytest.mark.parametrize(
    ("component", "config", "rate"),
    [
        ("vocoder", {"output_sampling_rate": 24_000, "sampling_rate": 8}, 24_000),  # LTX-2
        ("vocoder", {"sampling_rate": 16_000}, 16_000),  # AudioLDM 2
        ("vae", {"sampling_rate": 44_100}, 44_100),  # Stable Audio
        ("vae", {"sample_rate": 24_000}, 24_000),  # LongCat
        ("audio_vae", {"sample_rate": 48_000}, 48_000),  # Kandinsky 6
        ("sound_tokenizer", {"sampling_rate": 48_000}, 48_000),  # Cosmos 3
        ("vae", {}, None),
    ],
)
def test_audio_has_the_rate_that_the_components_tell(
    component: str, config: dict[str, int], rate: int | None
) -> None:
    pipeline = Talks(**{component: SimpleNamespace(config=SimpleNamespace(**config))})
    output = called(pipeline)
    assert output.audio_sample_rate == rate
    assert artifacts(output)[0].rate == rate


def test_a_pipeline_gets_frames_and_waveforms() -> None:
    pipeline, audio = Talks(), Audio(np.zeros((9, 2), np.float32), 8000)
    called(pipeline, video=Video(IMAGES, audio), audio=audio, n=3)
    assert pipeline.arguments["video"] is IMAGES
    assert pipeline.arguments["audio"].shape == (2, 9)  # (channels, samples)
    assert pipeline.arguments["n"] == 3


class TestMarigold:
    """The outputs of its pipelines, whose maps are between 0 and 1 and normals from -1."""

    VALUES = np.array([[-0.1, 0.25, 0.5, 1.1], [0, 0.25, 0.5, 1]], np.float32)

    @pytest.mark.parametrize("form", ["np", "pt"])
    def test_depth_has_16_bits(self, form: str) -> None:
        values = self.VALUES[None, ..., None]
        prediction = values if form == "np" else torch.from_numpy(values).movedim(-1, 1)
        [image] = artifacts(MarigoldDepthOutput(prediction, None, None))
        assert image.mode == "I;16"
        assert np.asarray(image).tolist() == [[0, 16384, 32768, 65535]] * 2

    def test_normals_are_colours(self) -> None:
        normals = np.stack([self.VALUES * 2 - 1] * 3, -1)[None]
        [image] = artifacts(MarigoldNormalsOutput(normals, None, None))
        assert image.mode == "RGB"
        assert np.asarray(image)[0, :, 0].tolist() == [0, 64, 128, 255]

    def test_intrinsics_are_colours(self) -> None:
        colours = np.stack([self.VALUES] * 3, -1)[None]
        found = artifacts(MarigoldIntrinsicsOutput(np.repeat(colours, 2, 0), None, None))
        assert [np.asarray(image)[0, :, 0].tolist() for image in found] == [[0, 64, 128, 255]] * 2


def test_images_of_a_mapping_come_first_and_the_rest_as_a_mapping() -> None:
    assert artifacts({"images": [1, 2]}) == [1, 2]
    assert artifacts({"images": [1, 2], "seed": 7}) == [1, 2, {"seed": 7}]
    assert artifacts({"videos": [1, 2]}) == [1, 2]
    assert artifacts({"videos": [1], "seed": 7}) == [1, {"seed": 7}]
    assert artifacts({"images": "none"}) == [{"images": "none"}]


class TestResults:
    @pytest.fixture
    def results(self) -> Results:
        found = Results(["gen", "size"])
        found.keep("gen", [StableDiffusionPipelineOutput(IMAGES, [False]), IMAGES[0]])
        found.keep("size", [{"width": 8, "height": 4}, {"width": 9}])
        return found

    def test_are_the_artifacts_of_all_iterations(self, results: Results) -> None:
        assert results.values("previous_result:gen") == [*IMAGES, IMAGES[0]]
        assert results.first("previous_result:gen") is IMAGES[0]

    def test_have_properties(self, results: Results) -> None:
        results.keep("gen", [IMAGES[0]])
        assert results.values("previous_result:gen.width") == [8]

    def test_of_mappings_may_lack_them(self, results: Results) -> None:
        assert results.values("previous_result:size.width") == [8, 9]
        assert results.values("previous_result:size.height") == [4]
        assert results.values("previous_result:size.depth") == []
        with pytest.raises(RunFailed, match=r"'previous_result:size.depth' is empty"):
            results.first("previous_result:size.depth")

    @pytest.mark.parametrize("name", ["colour", "save"])
    def test_of_objects_must_have_them(self, results: Results, name: str) -> None:
        results.keep("gen", [IMAGES[0]])
        with pytest.raises(RunFailed, match=f"the result of step 'gen' has no '{name}'"):
            results.values(f"previous_result:gen.{name}")

    def test_of_outputs_must_have_them(self, results: Results) -> None:
        results.keep("gen", [StableDiffusionPipelineOutput(IMAGES, None)])
        assert results.values("previous_result:gen.images") == [IMAGES]
        with pytest.raises(RunFailed, match="has no 'nsfw_content_detected'"):
            results.values("previous_result:gen.nsfw_content_detected")

    def test_of_unknown_steps_are_errors(self, results: Results) -> None:
        with pytest.raises(RunFailed, match="names an unknown step"):
            results.values("previous_result:other")

    def test_that_nothing_needs_are_dropped(self, results: Results) -> None:
        results.retain(["previous_result:size.width"])
        assert results.values("previous_result:size.width") == [8, 9]
        with pytest.raises(KeyError):
            results.values("previous_result:gen")


def test_tensors_that_are_on_the_host_stay_as_they_are() -> None:
    tensor, plain = torch.ones(2), {"a": 1}
    with pytest.raises(NotImplementedError):  # it has no data to move
        on_host(torch.ones(2, device="meta"))
    assert on_host(tensor) is tensor
    assert on_host(plain) is plain
    assert on_host("words") == "words"
    mapping = {"a": tensor, "b": torch.ones(2, device="meta")}
    with pytest.raises(NotImplementedError):
        on_host(mapping)
    assert mapping["a"] is tensor
