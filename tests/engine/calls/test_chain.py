"""Chains: of a real image to video pipeline, and of calls whose results are known."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from diffusers.modular_pipelines.minimax_h3 import references as h3
from diffusers.pipelines.ltx2.pipeline_output import LTX2PipelineOutput
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dw.engine.calls.chain import ChainMaker
from dw.engine.execution.run import RunState
from dw.engine.files import outputs
from dw.engine.media.video import Reel, Video
from dw.errors import RunFailed
from dw.events import Started, Stepped
from dw.rehearsal import stand_in
from dw.workflow.format.chain import Chain
from tests.engine.session import CancelsAt, Json, Session, workflow

MP4 = {"content_type": "video/mp4"}
LTX = {
    "configuration": {"component_type": "LTXImageToVideoPipeline"},
    "arguments": {
        "prompt": "a cat",
        "image": "cat.png",
        "num_frames": 9,
        "width": 64,
        "height": 64,
        "num_inference_steps": 2,
        "frame_rate": 24,
    },
}


@pytest.fixture(scope="session")
def ltx(stand_ins: None) -> Path:
    return stand_in("LTXImageToVideoPipeline", "Lightricks/LTX-Video")


@pytest.fixture(scope="session")
def ltx2(stand_ins: None) -> Path:
    return stand_in("LTX2ImageToVideoPipeline", "Lightricks/LTX-2")


@pytest.fixture
def video(ltx: Path, warm: Session) -> Callable[..., Json]:
    """A workflow of one chain, from an image in the session's folder."""
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(warm.folder / "cat.png")

    def of(arguments: Json | None = None, **chain: Any) -> Json:
        given = {**LTX["arguments"], **(arguments or {})}
        source = {"from_pretrained_arguments": {"model_name": str(ltx)}}
        step = {"name": "gen", "pipeline": {**LTX, **source, "arguments": given, "chain": chain}}
        return workflow({**step, "result": MP4})

    return of


class TestRealPipeline:
    @pytest.mark.parametrize(
        ("chain", "frames"),
        [
            ({"segments": 1}, 9),
            ({"segments": 3}, 9 + 8 + 8),
            ({"segments": 3, "trim_frames": 0}, 27),
            ({"segments": 2, "trim_frames": 8}, 10),
        ],
    )
    def test_as_many_frames_come_out_as_were_not_trimmed(
        self, warm: Session, video: Callable[..., Json], chain: Json, frames: int
    ) -> None:
        [output] = warm.run(video(**chain)).outputs
        assert (output.frames, output.seconds) == (frames, frames / 24)

    def test_one_segment_is_the_video_without_a_chain(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        chained = video(segments=1)
        plain = video(segments=1)
        del plain["steps"][0]["pipeline"]["chain"]
        plain["steps"][0]["result"] = {**MP4, "fps": 24}
        assert warm.hashes(chained) == warm.hashes(plain)

    def test_the_same_seed_makes_the_same_chain(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        assert warm.hashes(video(segments=2)) == warm.hashes(video(segments=2))
        assert warm.hashes(video(segments=2)) != warm.hashes(video(segments=2), seed=8)

    def test_each_segment_has_its_prompt(self, warm: Session, video: Callable[..., Json]) -> None:
        same, own = (video(segments=2, prompts=prompts) for prompts in (["a"], ["a", "b"]))
        assert warm.hashes(same) != warm.hashes(own)

    def test_the_number_of_segments_may_be_an_argument(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        document = {**video(segments="variable:segments"), "variables": {"segments": 1}}
        assert warm.run(document, segments=2).outputs[0].frames == 17

    def test_a_later_step_may_chain_with_the_same_pipeline(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        document = video(segments=1)
        again = {
            "reference_name": "gen",
            "arguments": {**LTX["arguments"], "prompt": "a dog"},
            "chain": {"segments": 2},
        }
        document["steps"].append({"name": "again", "pipeline_reference": again, "result": MP4})
        assert [output.frames for output in warm.run(document).outputs] == [9, 17]

    def test_progress_counts_segments(self, warm: Session, video: Callable[..., Json]) -> None:
        warm.run(video(segments=2))
        counted = [(e.done, e.total) for e in warm.seen(Stepped) if e.phase == "segment"]
        assert counted == [(1, 2), (2, 2)]

    def test_a_cancel_in_the_second_segment_changes_nothing_afterwards(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        before = warm.hashes(video(segments=2))
        calls = iter(range(99))

        class CancelsLater(CancelsAt):
            def stepped(self, step: int, steps: int) -> None:
                super().stepped(step if next(calls) > 6 else 0, steps)

        warm.cancel(video(segments=3), CancelsLater(1))
        assert warm.hashes(video(segments=2)) == before

    def test_a_stop_ends_the_chain_with_what_there_is(
        self, warm: Session, video: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        report = RunState.report

        def stops(run: RunState, phase: str, done: int, total: int) -> None:
            report(run, phase, done, total)
            if (phase, done) == ("segment", 2):
                run.context.control.stop()

        monkeypatch.setattr(RunState, "report", stops)
        result = warm.run(video(segments=4))
        assert result.outputs[0].frames == 17
        assert result.stopped_early

    def test_a_prompt_may_be_made_by_a_step_before(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        words = {"command": "gather_inputs", "inputs": [["a fox", "a dog"]]}
        document = video(segments=2, prompts=["previous_result:words"])
        document["steps"].insert(0, {"name": "words", "task": words})
        assert warm.hashes(document)[-1] == warm.hashes(video(segments=2, prompts=["a fox"]))[-1]


class TestRealAudio:
    """LTX-2 makes frames and their audio."""

    @pytest.mark.parametrize(("chain", "frames"), [({"segments": 1}, 9), ({"segments": 3}, 25)])
    def test_the_audio_lasts_as_long_as_the_video(
        self, warm: Session, video: Callable[..., Json], ltx2: Path, chain: Json, frames: int
    ) -> None:
        document = video(**chain)
        step = document["steps"][0]
        step["pipeline"]["configuration"] = {"component_type": "LTX2ImageToVideoPipeline"}
        step["pipeline"]["from_pretrained_arguments"] = {"model_name": str(ltx2)}
        wav = {"content_type": "audio/wav"}
        whole = {"command": "concat_videos", "arguments": {"videos": ["previous_result:gen"]}}
        document["steps"].append({"name": "sound", "task": whole, "result": wav})
        seen, heard = warm.run(document).outputs
        assert (seen.frames, seen.seconds, seen.sample_rate) == (frames, frames / 24, 24_000)
        assert heard.sample_rate == 24_000
        assert heard.seconds == pytest.approx(frames / 24, abs=1 / 24_000)


class TestSegmentsInFiles:
    def test_they_are_gone_when_the_run_is_over(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        result = warm.run(video(segments=2, save_segments=True))
        assert sorted(os.listdir(result.output_dir)) == ["demo-gen.0-0.0.mp4", "run.json"]
        assert result.outputs[0].frames == 17

    def test_they_are_kept_and_told_when_that_is_wanted(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        result = warm.run(video(segments=2, save_segments=True, keep_segments=True))
        assert [(Path(o.path).name, o.frames) for o in result.outputs] == [
            ("demo-gen.0.segment-000.mp4", 9),
            ("demo-gen.0.segment-001.mp4", 9),
            ("demo-gen.0-0.0.mp4", 17),
        ]

    def test_they_are_gone_after_a_failure_too(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        document = video(segments=1, save_segments=True)
        fail = {"command": "get_frame", "arguments": {"video": "previous_result:gen"}}
        fail["arguments"]["frame_index"] = 99
        document["steps"].append({"name": "fail", "task": fail})
        warm.fail(document)
        [started] = warm.seen(Started)
        assert not list(Path(started.output_dir).glob("*segment*"))

    def test_those_before_one_that_cannot_be_written_are_kept(
        self, warm: Session, video: Callable[..., Json], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write = outputs.write_bytes

        def refuse_the_second(path: Path, data: bytes) -> None:
            if data[4:8] == b"ftyp" and list(path.parent.glob("*segment-000.mp4")):
                raise OSError(errno.ENOSPC, "no space")
            write(path, data)

        monkeypatch.setattr(outputs, "write_bytes", refuse_the_second)
        error = warm.fail(video(segments=3, save_segments=True))
        assert "no space left" in error.message
        [started] = warm.seen(Started)
        record = json.loads(Path(started.output_dir, "run.json").read_text())
        names = [output["path"] for output in record["outputs"]]
        assert names == ["demo-gen.0.segment-000.mp4", "demo-gen.0.segment-001.npz"]
        assert all(name in os.listdir(started.output_dir) for name in names)
        frames = np.load(Path(started.output_dir, names[1]))["frames"]
        assert frames.shape == (9, 64, 64, 3)

    def test_a_later_step_sees_their_frames(
        self, warm: Session, video: Callable[..., Json]
    ) -> None:
        document = video(segments=2, save_segments=True)
        last = {"command": "get_last_frame", "arguments": {"video": "previous_result:gen"}}
        document["steps"].append(
            {"name": "last", "task": last, "result": {"content_type": "image/png"}}
        )
        assert warm.run(document).outputs[-1].width == 64


@pytest.mark.parametrize(
    ("arguments", "chain", "message"),
    [
        ({"num_frames": 8}, {"segments": 2, "frame_snap": {"modulus": 8, "remainder": 1}}, "8n+1"),
        (
            {},
            {"segments": 2, "segment_argument": "imge"},
            "'segment_argument' gives the argument 'imge'",
        ),
        ({}, {"match_audio": True}, "'match_audio' needs a list of references"),
    ],
)
def test_a_chain_that_does_not_fit_is_refused_before_anything_loads(
    warm: Session, video: Callable[..., Json], arguments: Json, chain: Json, message: str
) -> None:
    assert message in str(warm.fail(video(arguments, **chain)))
    assert warm.events == []


RATE = 8000


class Maker:
    """Makes videos of known frames: the call number is their shade, their audio its tenth."""

    def __init__(self, *, frames: int = 9, audio: bool = True, fps: float = 10, batch: int = 1):
        self.calls: list[Any] = []
        self._frames, self._has_audio, self._fps, self._batch = frames, audio, fps, batch

    def __call__(self, arguments: Any) -> Any:
        self.calls.append(arguments)
        number, count = len(self.calls), arguments.get("num_frames", self._frames)
        frames = np.full((self._batch, count, 8, 8, 3), number / 255, np.float32)
        samples = round(count / self._fps * RATE)
        audio = torch.full((self._batch, 2, samples), number / 10) if self._has_audio else None
        output = LTX2PipelineOutput(frames, audio)
        output.audio_sample_rate = RATE
        return output

    def chain(self, arguments: Json | None = None, prompts: Any = (), **chain: Any) -> Video:
        chaining = ChainMaker(
            chain=Chain.model_validate(chain),
            prompts=prompts,
            make=self,
            default=lambda name: None,
            goes_on=lambda done, total: True,
            spill=None,
        )
        return chaining.video(arguments or {})


class TestContinuity:
    def test_the_last_frame_is_given_to_the_next_call(self) -> None:
        maker = Maker(audio=False)
        maker.chain({"image": "first"}, segments=3)
        given = [call["image"] for call in maker.calls]
        assert given[0] == "first"
        assert [image.getpixel((0, 0))[0] for image in given[1:]] == [1, 2]

    def test_to_a_list_it_is_appended_and_taken_off_again(self) -> None:
        maker = Maker(audio=False)
        maker.chain({"refs": ["a"]}, segments=3, segment_argument="refs")
        assert [len(call["refs"]) for call in maker.calls] == [1, 2, 2]
        assert isinstance(maker.calls[2]["refs"][1], Image.Image)

    def test_among_references_it_is_one(self) -> None:
        maker = Maker(audio=False)
        audio = h3.MiniMaxH3AudioReference(torch.zeros(2, 9))
        maker.chain({"refs": [audio]}, segments=2, segment_argument="refs")
        assert isinstance(maker.calls[1]["refs"][1], h3.MiniMaxH3ImageReference)

    def test_each_call_has_its_prompt(self) -> None:
        maker = Maker(audio=False)
        maker.chain({"prompt": "own"}, prompts=["a", "b"], segments=4)
        assert [call["prompt"] for call in maker.calls] == ["a", "b", "b", "b"]


class TestLastSegment:
    LAST: Json = {  # noqa: RUF012
        "segments": 2,
        "continuity": "last_segment",
        "segment_argument": "references",
        "fps": 10,
    }

    def given(self, **chain: Any) -> Any:
        maker = Maker()
        image = h3.MiniMaxH3ImageReference(Image.new("RGB", (8, 8)))
        maker.chain({"references": [image]}, **{**self.LAST, **chain})
        return maker.calls[1]["references"][1]

    def test_the_whole_video_is_given_with_its_audio_and_rates(self) -> None:
        reference = self.given()
        assert isinstance(reference, h3.MiniMaxH3VideoReference)
        assert (len(reference.frames), reference.fps, reference.sample_rate) == (9, 10, RATE)
        assert reference.audio.shape == (2, 0.9 * RATE)

    def test_only_its_end_may_be_given(self) -> None:
        reference = self.given(carry_frames=4)
        assert len(reference.frames) == 4
        assert reference.audio.shape == (2, 0.4 * RATE)

    def test_its_audio_may_be_left_out(self) -> None:
        assert self.given(carry_audio=False).audio is None

    @pytest.mark.parametrize(
        ("references", "message"),
        [("picture", "needs a list of references"), (["a"], "needs a reference in 'references'")],
    )
    def test_without_references_there_is_no_way_to_make_one(
        self, references: Any, message: str
    ) -> None:
        with pytest.raises(RunFailed, match=message):
            Maker().chain({"references": references}, **self.LAST)


class TestAudio:
    @pytest.mark.parametrize("trim", [0, 1, 5])
    @pytest.mark.parametrize("fps", [10, 24, 29.97])
    def test_it_lasts_as_long_as_the_frames(self, trim: int, fps: float) -> None:
        video = Maker(fps=fps).chain(segments=4, trim_frames=trim, fps=fps)
        assert video.audio is not None
        assert len(video) == 36 - 3 * trim
        assert abs(len(video.audio) / RATE - len(video) / fps) < 1 / RATE

    def test_a_segment_is_heard_while_it_is_seen(self) -> None:
        video = Maker().chain(segments=3, trim_frames=1, fps=10)
        assert video.audio is not None
        for frame, shade in ((0, 1), (8, 1), (10, 2), (16, 2), (18, 3), (24, 3)):
            assert video.frame(frame).getpixel((0, 0)) == (shade,) * 3
        for second, level in ((0.0, 0.1), (0.95, 0.2), (1.6, 0.2), (1.75, 0.3)):
            assert video.audio.samples[round(second * RATE), 0] == pytest.approx(level)

    def test_the_argument_tells_the_rate_of_the_frames(self) -> None:
        video = Maker(fps=20).chain({"frame_rate": 20}, segments=2)
        assert video.fps == 20

    def test_nobody_telling_it_is_an_error(self) -> None:
        with pytest.raises(RunFailed, match="'chain' needs 'fps' to cut it"):
            Maker().chain(segments=2)


class TestMatchAudio:
    def chained(self, seconds: float, maker: Maker, **chain: Any) -> Video:
        samples = torch.linspace(0, 1, round(seconds * RATE)).repeat(2, 1)
        song = h3.MiniMaxH3AudioReference(samples, RATE)
        arguments = {"num_frames": 9, "references": [song], "prompt": "a choir"}
        return maker.chain(arguments, match_audio=True, fps=10, **chain)

    def test_the_video_lasts_as_long_as_the_audio_which_it_gets(self) -> None:
        video = self.chained(3.0, Maker())
        assert video.audio is not None
        assert (len(video), len(video.audio)) == (30, 3 * RATE)
        assert np.allclose(video.audio.samples[:, 0], np.linspace(0, 1, 3 * RATE), atol=1e-6)

    def test_each_call_gets_its_part_of_the_audio(self) -> None:
        maker = Maker()
        self.chained(3.0, maker)
        parts = [call["references"][0].audio for call in maker.calls]
        assert [part.shape[1] for part in parts] == [0.9 * RATE] * 3 + [0.6 * RATE]
        begins = [round(float(part[0, 0]), 3) for part in parts]
        assert begins == [
            0,
            pytest.approx(0.8 / 3, abs=2e-3),
            pytest.approx(1.6 / 3, abs=2e-3),
            0.8,
        ]

    def test_the_last_one_is_snapped_up_and_goes_on_in_silence(self) -> None:
        maker = Maker()
        video = self.chained(1.2, maker, frame_snap={"modulus": 4, "remainder": 1})
        assert [call["num_frames"] for call in maker.calls] == [9, 5]
        assert len(video) == 12
        last = maker.calls[1]["references"][0].audio
        assert not last[0, round(0.4 * RATE) :].any()

    @pytest.mark.parametrize(
        ("references", "message"),
        [
            ([], "needs one audio in 'references', got 0"),
            ([h3.MiniMaxH3AudioReference(torch.zeros(2, 99), 8)] * 2, "got 2"),
            ([h3.MiniMaxH3AudioReference(torch.zeros(2, 99))], "needs audio with a sample rate"),
        ],
    )
    def test_another_number_of_waveforms_is_named(self, references: Any, message: str) -> None:
        with pytest.raises(RunFailed, match=message):
            Maker().chain({"references": references}, match_audio=True, fps=10)

    @settings(max_examples=30, deadline=None)
    @given(st.floats(0.05, 10), st.integers(0, 8), st.integers(1, 9))
    def test_any_audio_is_matched(self, seconds: float, trim: int, modulus: int) -> None:
        snap = {"modulus": modulus, "remainder": 9 % modulus}
        video = self.chained(seconds, Maker(audio=False), trim_frames=trim, frame_snap=snap)
        assert len(video) == max(1, round(round(seconds * RATE) / RATE * 10))


def test_a_chain_goes_on_from_one_video() -> None:
    with pytest.raises(RunFailed, match="goes on from one video, and this call made 2"):
        Maker(batch=2, audio=False).chain(segments=2)


class TestReel:
    @pytest.fixture
    def reel(self, tmp_path: Path) -> Reel:
        """Frames 0 to 5 of one file, and 2 and 3 of another."""
        for name in ("a", "b"):
            with av.open(str(tmp_path / f"{name}.mp4"), "w") as file:
                stream = file.add_stream("libx264", rate=8, options={"qp": "0"})
                stream.width, stream.height = 16, 16
                for level in range(6):
                    image = np.full((16, 16, 3), 40 * level, np.uint8)
                    file.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
                file.mux(stream.encode())
        return Reel((tmp_path / "a.mp4", 0, 6)) + Reel((tmp_path / "b.mp4", 2, 4))

    def levels(self, frames: Any) -> list[int]:
        return [round(frame.getpixel((8, 8))[0] / 40) for frame in frames]

    def test_it_can_be_gone_through_again(self, reel: Reel) -> None:
        for _ in range(2):
            assert self.levels(reel) == [0, 1, 2, 3, 4, 5, 2, 3]
        assert len(reel) == 8

    @pytest.mark.parametrize(
        "part", [slice(2, None), slice(None, 7), slice(-3, None), slice(5, 7), slice(7, 2)]
    )
    def test_a_part_of_it_is_one(self, reel: Reel, part: slice) -> None:
        whole = [0, 1, 2, 3, 4, 5, 2, 3]
        assert self.levels(reel[part]) == whole[part]
        assert len(reel[part]) == len(whole[part])

    @pytest.mark.parametrize("index", [0, 5, 6, -1])
    def test_one_frame_is_read(self, reel: Reel, index: int) -> None:
        assert self.levels([reel[index]]) == [[0, 1, 2, 3, 4, 5, 2, 3][index]]
