"""Segments: the frames and audio samples of a video that is made in several calls.

Later segments begin with frames that the one before has already shown; these are trimmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from dw.workflow.format.chain import FrameSnap

DECLICK_S = 0.003
"""Audio that starts or ends abruptly clicks: it is faded this long where nothing overlaps."""


def samples_at(frames: int, fps: float, rate: int) -> int:
    """The index of the sample at the start of a frame."""
    return round(frames * rate / fps)


@dataclass(frozen=True, slots=True)
class Splice:
    """How the audio of one segment is appended to that of the earlier ones, in samples."""

    head: int  # of the segment, shown before; only its end is used, in the crossfade
    kept: int  # of the segment after its head
    fade: int  # overlap of the end of the head with the earlier audio; 0: none


def splices(
    lengths: Sequence[int], *, trim: int, fps: float, rate: int, crossfade_ms: float
) -> Iterator[Splice]:
    """The splices of segments of these lengths in frames. The sum of the kept samples is the length
    of the video, however single segments are rounded."""
    shown = accumulate(length - (trim if index else 0) for index, length in enumerate(lengths))
    end = 0
    for index, frames in enumerate(shown):
        begin, end = end, samples_at(frames, fps, rate)
        head = samples_at(trim, fps, rate) if index else 0
        fade = round(crossfade_ms / 1000 * rate) if index else 0
        yield Splice(head, end - begin, min(fade, head))


@dataclass(frozen=True, slots=True)
class Segment:
    """One call of the pipeline: the frames that it makes, and their position in the video."""

    begin: int
    frames: int


def planned(total: int, *, frames: int, trim: int, snap: FrameSnap) -> list[Segment]:
    """Segments of `frames` that cover a video of `total` frames, each beginning with the last
    `trim` frames of the one before. The last one is as short as possible, snapped up.

    `frames` must be above `trim` and a length of `snap`.
    """
    segments: list[Segment] = []
    begin = 0
    while True:
        length = min(frames, snap.up(total - begin))
        segments.append(Segment(begin, length))
        if begin + length >= total:
            return segments
        begin += length - trim
