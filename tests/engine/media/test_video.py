from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.media.audio import Audio
from dw.engine.media.audio_reading import decode_audio
from dw.engine.media.encoding import encode, is_muted, verify
from dw.engine.media.media_info import MediaInfo
from dw.engine.media.video import CONTAINERS, Video, as_video
from dw.errors import RunFailed
from dw.workflow.format.result import Result

IMAGE = Image.radial_gradient("L").resize((64, 48)).convert("RGB")
FRAMES = [IMAGE.rotate(10 * number) for number in range(12)]
MP4 = Result(content_type="video/mp4")


def tone(rate: int | None, seconds: float = 1.5) -> Audio:
    time = np.arange(round((rate or 8000) * seconds)) / (rate or 8000)
    wave = np.sin(time * 2 * np.pi * 440).astype(np.float32) / 2
    return Audio(np.stack([wave, wave], axis=1), rate)


@pytest.mark.parametrize("content_type", CONTAINERS)
@pytest.mark.parametrize("audio", [None, tone(16_000)], ids=["silent", "with audio"])
class TestContainers:
    def test_a_video_is_read_back_with_all_that_it_has(
        self, content_type: str, audio: Audio | None
    ) -> None:
        encoded = encode(Video(FRAMES, audio), Result(content_type=content_type))
        extent = encoded.extent
        assert (extent.width, extent.height, extent.frames) == (64, 48, 12)
        assert extent.seconds == 1.5
        if audio is not None:
            assert extent.samples == 1.5 * (extent.sample_rate or 0)
        verify(io.BytesIO(encoded.data), content_type, extent)

    def test_the_bytes_depend_on_the_video_alone(
        self, content_type: str, audio: Audio | None
    ) -> None:
        spec = Result(content_type=content_type)
        assert len({encode(Video(FRAMES, audio), spec).data for _ in range(3)}) == 1


def test_a_video_of_real_size_has_the_same_bytes_each_time() -> None:
    noise = np.random.default_rng(7).integers(0, 255, (6, 240, 416, 3), dtype=np.uint8)
    assert len({encode(noise, MP4).data for _ in range(3)}) == 1


@pytest.mark.parametrize("content_type", CONTAINERS)
def test_the_audio_is_heard_where_it_was(content_type: str) -> None:
    audio = tone(48_000)
    audio.samples[: len(audio) // 2] = 0
    encoded = encode(Video(FRAMES, audio), Result(content_type=content_type))
    with av.open(io.BytesIO(encoded.data)) as file:
        heard = decode_audio(file)
    assert heard is not None
    half = len(heard) // 2
    assert heard.rate == 48_000
    assert heard.channels == 2
    assert np.abs(heard.samples[: half - 4096]).max() < 0.01
    assert np.abs(heard.samples[half + 4096 : -4096]).max() > 0.3


@pytest.mark.parametrize(
    ("fps", "told", "seconds"),
    [(None, None, 1.5), (24.0, None, 0.5), (24.0, 6, 2.0), (None, 4, 3.0)],
)
def test_the_rate_of_the_frames_is_told_known_or_usual(
    fps: float | None, told: int | None, seconds: float
) -> None:
    video = Video(FRAMES, fps=fps)
    assert encode(video, Result(content_type="video/mp4", fps=told)).extent.seconds == seconds


def test_a_rate_may_be_broken() -> None:
    data = encode(FRAMES, Result(content_type="video/mp4", fps=29.97)).data
    with av.open(io.BytesIO(data)) as file:
        assert file.streams.video[0].average_rate == Fraction(2997, 100)


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((5, 16, 32, 3), np.float32),
        np.zeros((5, 16, 32, 3), np.uint8),
        torch.zeros(5, 3, 16, 32),
        torch.zeros(5, 3, 16, 32, dtype=torch.bfloat16),
        [Image.new("RGBA", (32, 16))] * 5,
        [np.zeros((16, 32, 3), np.float32)] * 5,
    ],
    ids=["floats", "bytes", "tensor", "half tensor", "images", "list of arrays"],
)
def test_frames_of_any_form_are_a_video(frames: Any) -> None:
    assert encode(frames, MP4).extent == MediaInfo(32, 16, 5)


@pytest.mark.parametrize(
    ("content_type", "size"), [("video/mp4", (48, 32)), ("video/webm", (47, 31))]
)
def test_odd_sides_lose_no_line(
    content_type: str, size: tuple[int, int], warnings: list[str]
) -> None:
    odd = [Image.new("RGB", (47, 31), (200, 40, 40))] * 3
    encoded = encode(odd, Result(content_type=content_type))
    assert encoded.extent == MediaInfo(*size, 3)
    verify(io.BytesIO(encoded.data), content_type, encoded.extent)
    with av.open(io.BytesIO(encoded.data)) as file:
        frame = next(file.decode(video=0)).to_ndarray(format="rgb24").astype(int)
    assert np.abs(frame - (200, 40, 40)).max() < 12  # to the last line
    assert [note.split(":")[0] for note in warnings] == (
        ["a video of 47x31 is written as 48x32"] if size == (48, 32) else []
    )


def test_a_gif_has_the_frames_alone() -> None:
    encoded = encode(Video(FRAMES, tone(16_000)), Result(content_type="image/gif", fps=5))
    assert encoded.extent == MediaInfo(64, 48, 12)
    with Image.open(io.BytesIO(encoded.data)) as gif:
        assert gif.info["duration"] == 200  # ms


class TestAudioOfUnknownRate:
    VIDEO = Video(FRAMES, tone(None))

    def test_is_left_out(self) -> None:
        assert is_muted(self.VIDEO, MP4)
        assert encode(self.VIDEO, MP4).extent == MediaInfo(64, 48, 12)

    def test_is_written_at_the_rate_that_the_result_tells(self) -> None:
        spec = Result(content_type="video/mp4", audio_sample_rate=8000)
        assert not is_muted(self.VIDEO, spec)
        assert encode(self.VIDEO, spec).extent.samples == len(tone(None))


def test_audio_is_resampled_to_what_the_result_tells() -> None:
    spec = Result(content_type="video/mp4", audio_sample_rate=44_100)
    extent = encode(Video(FRAMES, tone(16_000)), spec).extent
    assert (extent.sample_rate, extent.samples) == (44_100, 66_150)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("words", "video/mp4 cannot hold a text"),
        ([], "video/mp4 cannot hold an empty list"),
        (np.zeros(3), "video/mp4 cannot hold an array of shape (3,)"),
        (tone(8000), "video/mp4 cannot hold audio"),
        (Video([]), "video/mp4 cannot hold a video"),
    ],
)
def test_what_is_not_a_video_is_named(value: Any, message: str) -> None:
    with pytest.raises(RunFailed) as caught:
        as_video(value, "video/mp4")
    assert caught.value.message == message


@pytest.mark.parametrize("content_type", CONTAINERS)
def test_half_a_video_is_found(content_type: str) -> None:
    encoded = encode(Video(FRAMES, tone(16_000)), Result(content_type=content_type))
    with pytest.raises(RunFailed, match="read back"):
        verify(io.BytesIO(encoded.data[: len(encoded.data) // 2]), content_type, encoded.extent)
