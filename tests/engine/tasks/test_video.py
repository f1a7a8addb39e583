"""The commands on videos and audio, and how audio is joined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import realize
from dw.engine.media.audio import Audio
from dw.engine.media.encoding import encode
from dw.engine.media.video import Video
from dw.engine.tasks import TaskContext, run_task
from dw.errors import RunFailed
from dw.workflow.format.result import Result

RATE, FPS = 8000, 10
MP4 = Result(content_type="video/mp4")


def frames(count: int, first: int = 0) -> list[Image.Image]:
    """Grey images, each of another shade."""
    return [Image.new("RGB", (16, 16), (first + n,) * 3) for n in range(count)]


def audio(seconds: float, level: float = 0.5, rate: int | None = RATE) -> Audio:
    return Audio(np.full((round(seconds * (rate or RATE)), 2), level, np.float32), rate)


def run(command: str, **arguments: Any) -> Any:
    [result] = run_task(command, arguments, TaskContext(FileAccess(Path()), lambda: None))
    return result


def refused(command: str, **arguments: Any) -> str:
    with pytest.raises(RunFailed) as caught:
        run(command, **arguments)
    return caught.value.message


def shade(image: Image.Image) -> Any:
    return image.getpixel((0, 0))


class TestFrames:
    VIDEO = Video(frames(5))

    @pytest.mark.parametrize(
        ("command", "arguments", "number"),
        [
            ("get_frame", {}, 0),
            ("get_frame", {"frame_index": 3}, 3),
            ("get_frame", {"frame_index": -2}, 3),
            ("get_first_frame", {}, 0),
            ("get_last_frame", {}, 4),
        ],
    )
    @pytest.mark.parametrize(
        "video",
        [VIDEO, frames(5), np.stack([np.asarray(f) for f in frames(5)])],
        ids=["video", "images", "array"],
    )
    def test_one_is_taken(self, video: Any, command: str, arguments: Any, number: int) -> None:
        assert shade(run(command, video=video, **arguments)) == (number,) * 3

    @pytest.mark.parametrize("index", [5, -6])
    def test_one_that_is_not_there_is_named(self, index: int) -> None:
        message = refused("get_frame", video=self.VIDEO, frame_index=index)
        assert message == f"frame {index} is out of range for a video of 5 frames"

    def test_all_are_one_array(self) -> None:
        array = run("video_frames", video=self.VIDEO)
        assert array.shape == (5, 16, 16, 3)
        assert array.dtype == np.uint8
        assert array[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]

    def test_what_is_no_video_is_named(self) -> None:
        assert refused("get_frame", video="words") == "a video cannot hold a text"


class TestGather:
    @pytest.fixture
    def videos(self, tmp_path: Path) -> Path:
        for name, count in (("b", 3), ("a", 2)):
            video = Video(frames(count), audio(count / FPS), FPS)
            data = encode(video, MP4).data
            (tmp_path / f"{name}.mp4").write_bytes(data)
        (tmp_path / "c.txt").write_text("not a video")
        return tmp_path

    def gathered(self, folder: Path, **arguments: Any) -> list[Video]:
        return run_task("gather_videos", arguments, TaskContext(FileAccess(folder), lambda: None))

    def test_videos_come_by_name_with_rate_and_audio(self, videos: Path) -> None:
        first, second = self.gathered(videos, glob="*")
        assert (len(first), len(second)) == (2, 3)
        assert first.fps == FPS
        assert first.audio is not None
        assert first.audio.rate == RATE

    def test_nothing_that_matches_is_an_error(self, videos: Path) -> None:
        with pytest.raises(RunFailed, match=r"no videos match '\*.avi'"):
            self.gathered(videos, glob="*.avi")
        with pytest.raises(RunFailed, match="needs 'glob' or 'urls'"):
            self.gathered(videos)


class TestConcat:
    def test_frames_follow_each_other(self) -> None:
        video = run("concat_videos", videos=[frames(3), frames(4, first=50)])
        assert [shade(each)[0] for each in video] == [0, 1, 2, 50, 51, 52, 53]
        assert video.audio is None

    def test_the_beginning_of_the_later_ones_is_trimmed(self) -> None:
        video = run("concat_videos", videos=[frames(3), frames(4), frames(2)], trim_frames=1)
        assert [shade(each)[0] for each in video] == [0, 1, 2, 1, 2, 3, 1]

    @pytest.mark.parametrize("trim", [0, 2])
    @pytest.mark.parametrize("seconds", [0.2, 0.5, 0.9])
    def test_the_audio_lasts_as_long_as_the_frames(self, trim: int, seconds: float) -> None:
        videos = [Video(frames(5), audio(seconds), FPS)] * 3
        video = run("concat_videos", videos=videos, trim_frames=trim)
        assert len(video.audio) == len(video) / FPS * RATE
        assert video.fps == FPS

    def test_equal_waveforms_keep_their_power_where_they_cross(self) -> None:
        noise = np.random.default_rng(7).standard_normal((2, RATE, 2)).astype(np.float32) / 8
        videos = [Video(frames(10), Audio(samples, RATE), FPS) for samples in noise]
        video = run("concat_videos", videos=videos, trim_frames=5, crossfade_ms=500)
        crossing = video.audio.samples[RATE // 2 : RATE]
        assert np.std(crossing) == pytest.approx(np.std(noise), rel=0.05)

    def test_a_hard_cut_is_faded_for_three_milliseconds(self) -> None:
        videos = [Video(frames(5), audio(0.5), FPS)] * 2
        samples = run("concat_videos", videos=videos).audio.samples[:, 0]
        middle, declick = RATE // 2, round(0.003 * RATE)
        assert abs(samples[middle - 1]) < 0.05 > abs(samples[middle])
        assert (samples[: middle - declick] == 0.5).all()
        assert (samples[middle + declick :] == 0.5).all()

    def test_without_a_crossfade_nothing_is_faded(self) -> None:
        videos = [Video(frames(5), audio(0.5), FPS)] * 2
        video = run("concat_videos", videos=videos, crossfade_ms=0)
        assert (video.audio.samples == 0.5).all()

    def test_a_video_without_audio_is_silent_among_the_others(self) -> None:
        video = run("concat_videos", videos=[frames(5), Video(frames(5), audio(0.5), FPS)])
        assert not video.audio.samples[: RATE // 2].any()
        assert video.audio.samples[-1, 0] == 0.5

    def test_audio_of_other_rates_and_channels_becomes_alike(self) -> None:
        mono = Audio(np.full((2000, 1), 0.5, np.float32), 4000)
        videos = [Video(frames(5), audio(0.5), FPS), Video(frames(5), mono, FPS)]
        video = run("concat_videos", videos=videos)
        assert (video.audio.rate, video.audio.samples.shape) == (RATE, (RATE, 2))

    def test_the_rate_of_the_frames_may_be_told(self) -> None:
        video = run("concat_videos", videos=[Video(frames(5), audio(0.5))] * 2, fps=20)
        assert (video.fps, len(video.audio)) == (20, RATE // 2)

    def test_videos_of_several_sizes_are_named(self) -> None:
        message = refused("concat_videos", videos=[frames(2), [Image.new("RGB", (8, 16))]])
        assert message == "videos of several sizes cannot be joined: 16x16, 8x16"

    def test_a_video_that_is_all_trimmed_is_named(self) -> None:
        message = refused("concat_videos", videos=[frames(5), frames(2)], trim_frames=2)
        assert message == "a video of 2 frames has none after the first 2"


class TestPair:
    @pytest.mark.parametrize(
        ("audio", "arguments", "rate"),
        [
            (audio(1), {}, RATE),
            (torch.zeros(1, 2, 800), {"sample_rate": 16_000}, 16_000),
            (np.zeros(800, np.float32), {}, None),
            (Video(frames(2), audio(1)), {}, RATE),  # another video's
        ],
    )
    def test_a_video_gets_audio(self, audio: Any, arguments: Any, rate: int | None) -> None:
        video = run("pair_audio", video=Video(frames(3), fps=FPS), audio=audio, **arguments)
        assert (len(video), video.fps, video.audio.rate) == (3, FPS, rate)

    def test_what_has_no_audio_is_named(self) -> None:
        message = refused("pair_audio", video=frames(3), audio=Video(frames(3)))
        assert message == "audio cannot be made from a video"


class TestSlice:
    AUDIO = Audio(np.arange(RATE, dtype=np.float32)[:, None], RATE)

    @pytest.mark.parametrize(
        ("arguments", "begin", "length"),
        [
            ({"start_seconds": 0.25, "duration_seconds": 0.5}, 2000, 4000),
            ({"start_seconds": 0, "duration_seconds": 1}, 0, 8000),
            ({"start_frame": 5, "num_frames": 3, "fps": 10}, 4000, 2400),
            ({"start_frame": 0, "num_frames": 7, "fps": 24}, 0, 2333),
            ({"start_seconds": 0.75, "duration_seconds": 0.5}, 6000, 4000),
        ],
    )
    def test_a_part_is_taken(self, arguments: Any, begin: int, length: int) -> None:
        part = run("slice_audio", audio=self.AUDIO, **arguments)
        there = min(length, RATE - begin)
        assert (len(part), part.rate) == (length, RATE)
        assert part.samples[:there, 0].tolist() == list(range(begin, begin + there))
        assert not part.samples[there:].any()

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"start_seconds": 0},
            {"start_seconds": 0, "duration_seconds": 1, "fps": 10},
            {"start_frame": 0, "num_frames": 3},
        ],
    )
    def test_the_part_is_told_in_one_way(self, arguments: Any) -> None:
        message = refused("slice_audio", audio=self.AUDIO, **arguments)
        assert message.startswith("slice_audio needs 'start_seconds' and 'duration_seconds', or")

    def test_a_part_behind_the_end_is_named(self) -> None:
        arguments = {"start_seconds": 2, "duration_seconds": 1}
        message = refused("slice_audio", audio=self.AUDIO, **arguments)
        assert message == "the audio ends after 1.00 s, before the part begins"

    def test_a_waveform_needs_its_rate(self) -> None:
        arguments = {"start_seconds": 0, "duration_seconds": 1}
        assert "needs 'sample_rate'" in refused("slice_audio", audio=np.zeros(9), **arguments)
        assert len(run("slice_audio", audio=np.zeros(9), sample_rate=4, **arguments)) == 4


class TestCrossfade:
    def test_each_goes_over_the_end_of_the_one_before(self) -> None:
        joined = run("crossfade_audio", audios=[audio(1)] * 3, crossfade_ms=100)
        assert len(joined) == 3 * RATE - 2 * 800

    def test_the_middle_has_both_at_equal_power(self) -> None:
        joined = run("crossfade_audio", audios=[audio(1)] * 2, crossfade_ms=100)
        assert joined.samples[RATE - 400, 0] == pytest.approx(0.5 * 2**0.5, rel=0.01)

    def test_it_is_no_longer_than_the_shorter_one(self) -> None:
        joined = run("crossfade_audio", audios=[audio(1), audio(0.01)], crossfade_ms=100)
        assert len(joined) == RATE

    def test_waveforms_are_taken_with_their_rate(self) -> None:
        joined = run("crossfade_audio", audios=[torch.zeros(2, 800)] * 2, sample_rate=RATE)
        assert (len(joined), joined.rate) == (1600 - 600, RATE)


@pytest.mark.parametrize(
    ("command", "arguments", "message"),
    [
        ("concat_videos", {"videos": []}, "concat_videos needs at least one video"),
        ("crossfade_audio", {"audios": []}, "crossfade_audio needs at least one audio"),
        ("concat_videos", {"videos": "x"}, "'videos' must be a list, got 'x'"),
        (
            "concat_videos",
            {"videos": [], "crossfade_ms": -1},
            "'crossfade_ms' must be at least 0, got -1",
        ),
        ("get_frame", {"video": [], "frame_indx": 1}, "get_frame takes no 'frame_indx' (did you"),
    ],
)
def test_arguments_that_do_not_fit_are_named(command: str, arguments: Any, message: str) -> None:
    assert refused(command, **arguments).startswith(message)


class TestMedia:
    """Videos and audio that a workflow names by their files."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        video = Video(frames(6), audio(0.6), FPS)
        for content_type, name in (("video/mp4", "film.mp4"), ("audio/wav", "song.wav")):
            data = encode(video, Result(content_type=content_type)).data
            (tmp_path / name).write_bytes(data)
        (tmp_path / "silent.mp4").write_bytes(encode(frames(2), MP4).data)
        return tmp_path

    def test_a_video_has_its_frames_rate_and_audio(self, folder: Path) -> None:
        video = realize({"video": "film.mp4"}, access=FileAccess(folder))["video"]
        assert (len(video), video.fps, video.audio.rate) == (6, FPS, RATE)

    @pytest.mark.parametrize("name", ["song.wav", "film.mp4"])
    def test_audio_may_be_that_of_a_video(self, folder: Path, name: str) -> None:
        read = realize({"my_audio": name}, access=FileAccess(folder))["my_audio"]
        assert (read.rate, read.channels) == (RATE, 2)
        assert len(read) == pytest.approx(0.6 * RATE, abs=1024)

    def test_a_video_without_audio_is_not_audio(self, folder: Path) -> None:
        with pytest.raises(RunFailed, match=r"cannot read the audio 'silent.mp4': it has no"):
            realize({"audio": "silent.mp4"}, access=FileAccess(folder))

    def test_what_is_not_audio_is_named(self, folder: Path) -> None:
        (folder / "a.wav").write_text("words")
        with pytest.raises(
            RunFailed, match=r"cannot read the audio 'a.wav': not a valid audio file"
        ):
            realize({"audio": "a.wav"}, access=FileAccess(folder))
