"""Joining: videos and audio in a row, with crossfades."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from dw.engine.media.audio import RATE, Audio, Samples, fitted
from dw.engine.media.segments import DECLICK_S, splices
from dw.engine.media.video import FPS, Reel, Video
from dw.errors import RunFailed


def joined_videos(
    videos: Sequence[Video], *, trim: int, crossfade_ms: float, fps: float | None = None
) -> Video:
    """One video of all, without the first `trim` frames of the later ones.

    Their audio is crossfaded with equal power over the trimmed frames. A video without audio is
    silent among the others. Raises RunFailed for videos of several sizes, and for one that has no
    frames after trimming.
    """
    fps = fps or next((video.fps for video in videos if video.fps), None)
    for video in videos[1:]:
        if len(video) <= trim:
            raise RunFailed(f"a video of {len(video)} frames has none after the first {trim}")
    frames = _sequence(videos[0])
    for video in videos[1:]:
        frames += _sequence(video)[trim:]
    sizes = dict.fromkeys("{}x{}".format(*video.frame(0).size) for video in videos)
    if len(sizes) > 1:
        raise RunFailed(f"videos of several sizes cannot be joined: {', '.join(sizes)}")
    if not any(video.audio for video in videos):
        return Video(frames, fps=fps)
    return Video(frames, _joined_tracks(videos, trim, crossfade_ms, fps or FPS), fps)


def crossfaded(audios: Sequence[Audio], crossfade_ms: float) -> Audio:
    """The audio in order, each overlapping the end of the one before, with equal power.

    A crossfade is at most as long as the shorter of the two.
    """
    first, *others = _alike(audios)
    assert first.rate is not None
    overlap = round(crossfade_ms / 1000 * first.rate)
    samples = first.samples
    for other in others:
        fade = min(overlap, len(samples), len(other))
        samples = _faded(samples, other.samples, fade)
    return Audio(samples, first.rate)


def _joined_tracks(videos: Sequence[Video], trim: int, crossfade_ms: float, fps: float) -> Audio:
    silence = Audio(np.zeros((0, 1), np.float32))
    audios = _alike([video.audio or silence for video in videos])
    rate = audios[0].rate
    assert rate is not None
    plan = splices(list(map(len, videos)), trim=trim, fps=fps, rate=rate, crossfade_ms=crossfade_ms)
    declick = round(DECLICK_S * rate) if crossfade_ms else 0
    samples = np.zeros((0, audios[0].channels), np.float32)
    for splice, audio in zip(plan, audios, strict=True):
        segment = fitted(audio.samples, splice.head + splice.kept)
        if splice.fade or not len(samples):
            samples = _faded(samples, segment[splice.head - splice.fade :], splice.fade)
        else:
            begin = _ending(segment[splice.head :][::-1], declick)[::-1]
            samples = np.concatenate([_ending(samples, declick), begin])
    return Audio(samples, rate)


def _faded(before: Samples, after: Samples, overlap: int) -> Samples:
    """`after` over the last `overlap` samples of `before`: sine and cosine, whose squares are 1."""
    if overlap == 0:
        return np.concatenate([before, after])
    angle = ((np.arange(overlap, dtype=np.float32) + 0.5) / overlap * (np.pi / 2))[:, None]
    common = before[-overlap:] * np.cos(angle) + after[:overlap] * np.sin(angle)
    return np.concatenate([before[:-overlap], common.astype(np.float32), after[overlap:]])


def _ending(samples: Samples, length: int) -> Samples:
    """The samples with the last `length` of them faded to silence."""
    length = min(length, len(samples))
    ramp = np.linspace(1, 0, length, dtype=np.float32)[:, None]
    start = len(samples) - length
    return np.concatenate([samples[:start], samples[start:] * ramp])


def _alike(audios: Sequence[Audio]) -> list[Audio]:
    """All at the first known sample rate and with the highest number of channels."""
    rate = next((audio.rate for audio in audios if audio.rate), RATE)
    channels = max(audio.channels for audio in audios)
    alike = [audio.at(rate) for audio in audios]
    for audio in alike:
        if audio.channels not in (1, channels):
            raise RunFailed(f"audio of {audio.channels} and {channels} channels cannot be joined")
    return [Audio(np.broadcast_to(audio.samples, (len(audio), channels)), rate) for audio in alike]


def _sequence(video: Video) -> Any:
    """Frames to which others can be added; frames in files stay in files."""
    return video.frames if isinstance(video.frames, Reel) else list(video.frames)
