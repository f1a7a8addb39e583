"""Audio reading: the audio of a file where its time stamps put it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import av
import numpy as np

from dw.engine.media.audio import Audio, Samples
from dw.engine.media.memory_share import MemoryShare

SAMPLE_BYTES = 4

_FROM_ZERO = ("mov", "matroska")
"""Containers whose time begins at 0: audio that begins later has a gap in front. In others the
first samples are at any time."""

_UNTIMED = ("mpegts", "mpeg")
"""Containers that only guess how long a stream is."""

_PADDED = ("aac", "mp2", "mp3", "mp3float", "ac3", "eac3")
"""Decoders of whole blocks, the last of which an encoder fills up."""


def decode_audio(container: Any, check: Callable[[], None] = lambda: None) -> Audio | None:
    """The audio of an open file, None if it has none; reads the container to its end.

    It begins with the first frame of the video: silence is in front of audio that starts later, and
    what lies before it is left out, as is what an encoder added to fill its last block.
    `check` raises when the run was cancelled. Raises OutOfResources when it needs too much memory.
    """
    stream = next(iter(container.streams.audio), None)
    if stream is None:
        return None
    share = MemoryShare("the audio")
    resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
    parts: list[Samples] = []
    starts: list[float] = []  # of the frames, in seconds
    longest, video_end_s = 0, 0.0
    video = _video_of(container)
    for packet in container.demux(*filter(None, (stream, video))):
        check()
        if packet.stream is not stream:
            video_end_s = max(video_end_s, _seconds((packet.pts or 0) + packet.duration, video))
            continue
        for frame in packet.decode():
            starts.append(float((frame.pts or 0) * (frame.time_base or 0)))
            longest = max(longest, frame.samples)
            share.take(frame.samples * SAMPLE_BYTES * stream.channels)
            parts += [part.to_ndarray().T for part in resampler.resample(frame)]
    parts += [part.to_ndarray().T for part in resampler.resample(None)]
    if not parts:
        return None
    samples = np.concatenate(parts).astype(np.float32, copy=False)
    origin_s = _origin_s(container, video, starts[0])
    begin = round((starts[0] - origin_s) * stream.rate)
    share.take(max(0, begin) * SAMPLE_BYTES * stream.channels)
    samples = np.pad(samples[max(0, -begin) :], ((max(0, begin), 0), (0, 0)))
    if (end_s := _end_s(container, stream, video_end_s)) is not None:
        padding = len(samples) - round((end_s - origin_s) * stream.rate)
        if 0 < padding <= 2 * longest:  # more than an encoder adds is no padding
            samples = samples[:-padding]
    return Audio(samples, stream.rate)


def _video_of(container: Any) -> Any:
    """The video stream; a cover of a song is none."""
    streams = container.streams.video
    attached = av.stream.Disposition.attached_pic
    return next((each for each in streams if not each.disposition & attached), None)


def _origin_s(container: Any, video: Any, start_s: float) -> float:
    """The time at which the audio of a file, whose first samples are at `start_s`, should begin."""
    if video is not None:
        return _seconds(video.start_time, video)
    return 0.0 if _is_of(container, _FROM_ZERO) else start_s


def _end_s(container: Any, stream: Any, video_end_s: float) -> float | None:
    """The time at which the audio ends, as the container says it; else the end of the video, where
    the codec fills its last block. None if unknown."""
    if stream.duration is not None and not _is_of(container, _UNTIMED):
        return _seconds((stream.start_time or 0) + stream.duration, stream)
    is_padded = stream.codec_context.name in _PADDED
    return video_end_s if is_padded and video_end_s else None


def _seconds(stamp: int | None, stream: Any) -> float:
    return float((stamp or 0) * stream.time_base)


def _is_of(container: Any, formats: tuple[str, ...]) -> bool:
    return not set(formats).isdisjoint(container.format.name.split(","))
