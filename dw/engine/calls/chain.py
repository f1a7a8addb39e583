"""Chains: a video of several segments. The pipeline is called once for each, and given the end of
the segment before."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dw.engine.files.artifacts import artifacts
from dw.engine.files.objects import accepts
from dw.engine.media.audio import Audio, as_audio, fitted
from dw.engine.media.joining import joined_videos
from dw.engine.media.segments import Segment, planned, samples_at
from dw.engine.media.video import Video, as_video
from dw.errors import RunFailed
from dw.workflow.format.chain import REFERENCES, Chain, FrameSnap

CallArguments = Mapping[str, Any]
Runner = Callable[[Any], list[Any]]
"""From the arguments of one iteration to its results."""

_ANY = FrameSnap.model_validate({"modulus": 1})


@dataclass(frozen=True, slots=True)
class ChainMaker:
    """One chain, and the functions that it is made with."""

    chain: Chain
    prompts: Sequence[str]  # the chain's own, results filled in
    make: Callable[[CallArguments], Any]  # calls the pipeline
    default: Callable[[str], Any]  # of an argument of the call, None without one
    goes_on: Callable[[int, int], bool]  # done segments, of a total: whether to make more
    spill: Callable[[Video, int], Video] | None  # puts the frames of a segment into a file

    def video(self, arguments: CallArguments) -> Video:
        """The whole video. Raises RunFailed for arguments and results that make no chain."""
        fps = self.chain.fps or arguments.get("frame_rate") or self.default("frame_rate")
        track = self._track(arguments, fps) if self.chain.match_audio else None
        calls = list(self._calls(arguments, track, fps))
        videos: list[Video] = []
        before: Video | None = None
        for index, call in enumerate(calls):
            given = call if before is None else self._going_on(call, before, fps)
            before = self._segment(given, fps)
            videos.append(before if self.spill is None else self.spill(before, index))
            if not self.goes_on(len(videos), len(calls)):
                break
        trim, crossfade_ms = self.chain.trim_frames, self.chain.crossfade_ms
        video = joined_videos(videos, trim=trim, crossfade_ms=crossfade_ms, fps=fps)
        if track is None or fps is None:
            return video
        assert track.rate is not None
        total = max(1, round(len(track) / track.rate * fps))
        if len(video) < total:  # a stop ended it
            track = Audio(track.samples[: samples_at(len(video), fps, track.rate)], track.rate)
        return Video(video.frames[:total], track, fps)

    def _track(self, arguments: CallArguments, fps: float | None) -> Audio:
        """The audio that the video is made for."""
        if fps is None:
            raise RunFailed("'match_audio' needs 'fps' in the chain, or the argument 'frame_rate'")
        references = arguments.get(REFERENCES)
        listed = references if isinstance(references, list) else []
        audios = [each for each in listed if _kind(each) == "audio"]
        if len(audios) != 1:
            raise RunFailed(f"'match_audio' needs one audio in {REFERENCES!r}, got {len(audios)}")
        audio = as_audio(audios[0])
        if audio.rate is None:
            raise RunFailed("'match_audio' needs audio with a sample rate")
        return audio

    def _calls(
        self, arguments: CallArguments, track: Audio | None, fps: float | None
    ) -> Iterator[CallArguments]:
        """The arguments of each call, without those that the call before gives."""
        if track is None or fps is None:
            for index in range(self.chain.segments or 1):
                yield {**arguments, **self._prompt(index)}
            return
        frames = arguments.get("num_frames") or self.default("num_frames")
        snap, trim = self.chain.frame_snap or _ANY, self.chain.trim_frames
        if not isinstance(frames, int):
            raise RunFailed("'match_audio' needs the argument 'num_frames'")
        if frames <= trim or not snap.fits(frames):
            raise RunFailed(f"'num_frames' must be {snap}, and above {trim}, got {frames}")
        assert track.rate is not None
        total = max(1, round(len(track) / track.rate * fps))
        segments = planned(total, frames=frames, trim=trim, snap=snap)
        for index, segment in enumerate(segments):
            references = _with_part(arguments[REFERENCES], track, segment, fps)
            own = {"num_frames": segment.frames, REFERENCES: references}
            yield {**arguments, **own, **self._prompt(index)}

    def _prompt(self, index: int) -> dict[str, str]:
        return {"prompt": self.prompts[min(index, len(self.prompts) - 1)]} if self.prompts else {}

    def _segment(self, arguments: CallArguments, fps: float | None) -> Video:
        """What one call makes, as images: they take a quarter of the memory of floats."""
        videos = [as_video(each, "a segment") for each in artifacts(self.make(arguments))]
        if len(videos) != 1:
            raise RunFailed(f"a chain goes on from one video, and this call made {len(videos)}")
        [video] = videos
        if video.audio is not None and fps is None:
            raise RunFailed("the segments have audio: 'chain' needs 'fps' to cut it")
        return Video(list(video), video.audio, fps or video.fps)

    def _going_on(
        self, arguments: CallArguments, before: Video, fps: float | None
    ) -> CallArguments:
        name = self.chain.segment_argument
        given = arguments.get(name)
        if self.chain.continuity == "last_segment":
            if not isinstance(given, list):
                raise RunFailed(f"'last_segment' needs a list of references in {name!r}")
            return {**arguments, name: [*given, self._video_reference(given, before, fps)]}
        frame = before.frame(-1)
        if not isinstance(given, list):
            return {**arguments, name: frame}
        cls = _reference_class(given, "image")
        return {**arguments, name: [*given, frame if cls is None else cls(image=frame)]}

    def _video_reference(self, given: list[Any], before: Video, fps: float | None) -> Any:
        """The video before, or its end, as an object of the class that the pipeline takes."""
        cls = _reference_class(given, "video")
        if cls is None:
            name = self.chain.segment_argument
            raise RunFailed(f"'last_segment' needs a reference in {name!r}, to know their class")
        video = _ending(before, self.chain.carry_frames or len(before), fps)
        known: dict[str, Any] = {"frames": list(video)}
        if fps is not None and accepts(cls, "fps"):
            known["fps"] = fps
        if video.audio is not None and self.chain.carry_audio:
            known |= {"audio": video.audio.tensor, "sample_rate": video.audio.rate}
        return cls(**known)


def _with_part(references: list[Any], track: Audio, segment: Segment, fps: float) -> list[Any]:
    """The references with the part of the audio that belongs to a segment; the rest is silence."""
    assert track.rate is not None
    begin = samples_at(segment.begin, fps, track.rate)
    end = samples_at(segment.begin + segment.frames, fps, track.rate)
    part = Audio(fitted(track.samples[begin:], end - begin), track.rate)
    return [
        replace(each, audio=part.tensor, sample_rate=part.rate) if _kind(each) == "audio" else each
        for each in references
    ]


def _ending(video: Video, frames: int, fps: float | None) -> Video:
    """The last frames, and the audio that belongs to them."""
    kept = video.frames[-frames:]
    audio, rate = video.audio, video.audio.rate if video.audio else None
    if audio is None or rate is None or fps is None:
        return Video(kept, audio, fps)
    whole = fitted(audio.samples, samples_at(len(video), fps, rate))
    begin = samples_at(len(video) - len(kept), fps, rate)
    return Video(kept, Audio(whole[begin:], rate), fps)


def _reference_class(references: list[Any], kind: str) -> Any:
    """The class of a pipeline's references of a kind: that of a given one, or else one in the
    module of another's class."""
    own = [each for each in references if _kind(each)]
    for each in own:
        if _kind(each) == kind:
            return type(each)
    for module in (sys.modules[type(each).__module__] for each in own):
        for found in vars(module).values():
            if isinstance(found, type) and getattr(found, "kind", None) == kind:
                return found
    return None


def _kind(value: Any) -> str | None:
    kind = getattr(value, "kind", None)
    return kind if isinstance(kind, str) else None
