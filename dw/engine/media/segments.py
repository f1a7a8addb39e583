"""The arithmetic of films that are made in segments: frames, and the samples that belong to them.

Later segments begin with frames that the one before has already shown; these are trimmed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from dw.workflow.format.chain import FrameSnap

DECLICK_S = 0.003
"""A sound that begins or ends at once is a click: this much is faded where nothing overlaps."""


def samples_at(frames: int, fps: float, rate: int) -> int:
    """The sample that stands at the beginning of a frame, counted from the film's own."""
    return round(frames * rate / fps)


@dataclass(frozen=True, slots=True)
class Splice:
    """How the sound of one segment goes behind what is there, in samples."""

    head: int  # of the segment, shown before: only its end is heard, in the crossfade
    kept: int  # of the segment after its head
    fade: int  # that the end of the head and of what is there have in common; 0: nothing overlaps


def splices(
    lengths: Sequence[int], *, trim: int, fps: float, rate: int, crossfade_ms: float
) -> Iterator[Splice]:
    """For segments of these lengths in frames. What is kept of all is the length of the film,
    however the single ones are rounded."""
    shown = accumulate(length - (trim if index else 0) for index, length in enumerate(lengths))
    end = 0
    for index, frames in enumerate(shown):
        begin, end = end, samples_at(frames, fps, rate)
        head = samples_at(trim, fps, rate) if index else 0
        fade = round(crossfade_ms / 1000 * rate) if index else 0
        yield Splice(head, end - begin, min(fade, head))


@dataclass(frozen=True, slots=True)
class Segment:
    """One call of the pipeline: the frames that it makes, and where they stand in the film."""

    begin: int
    frames: int


def planned(total: int, *, frames: int, trim: int, snap: FrameSnap) -> list[Segment]:
    """Segments of `frames` that cover a film of `total` frames, each beginning with the `trim` last
    ones of the one before; the last one is only as long as it has to be, snapped up.

    `frames` must be above `trim`, and a length that `snap` can make.
    """
    segments: list[Segment] = []
    begin = 0
    while True:
        length = min(frames, snap.up(total - begin))
        segments.append(Segment(begin, length))
        if begin + length >= total:
            return segments
        begin += length - trim
