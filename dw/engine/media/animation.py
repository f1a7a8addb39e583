"""Animations: GIF, WebP and AVIF files of several frames, each shown for a time of its own."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, pairwise

from PIL import Image

from dw.engine.media.colour_profile import as_read
from dw.engine.media.image import image_extent
from dw.engine.media.media_info import MediaInfo
from dw.engine.media.memory_share import MemoryShare
from dw.pixels import allowing

FORMATS = ("GIF", "WEBP", "AVIF", "PNG")
"""Pillow's names. FFmpeg reads one frame of an AVIF and none of a WebP."""

FASTEST_GIF_FPS = 50
"""Viewers show a delay below 2 hundredths of a second as 10."""

FASTEST_FPS = 100
"""The highest rate at which frames of several lengths are counted: GIF's own unit."""

USUAL_DELAY_MS = 100
"""For a file that gives none, as viewers have it."""


def encode_gif(frames: Sequence[Image.Image], fps: float) -> tuple[bytes, MediaInfo]:
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=gif_delays_ms(len(frames), fps),
        loop=0,
    )
    # Pillow merges equal neighbours into one longer frame, so the count is read from the file.
    buffer.seek(0)
    with allowing(frames[0].width * frames[0].height):
        return buffer.getvalue(), image_extent(buffer)


def slow_gif_note(fps: float) -> str:
    return (
        f"a GIF of {fps:g} frames per second is slow in most viewers, which show what is above "
        f"{FASTEST_GIF_FPS} at 10"
    )


def gif_delays_ms(frames: int, fps: float) -> list[int]:
    """The delays of a GIF's frames, which it counts in hundredths of a second. The rounding is
    shared out, so that the sum is the length of the video."""
    ends = [round(100 * number / fps) for number in range(frames + 1)]
    return [10 * (end - begin) for begin, end in pairwise(ends)]


def decode_animation(
    image: Image.Image, check: Callable[[], None]
) -> tuple[list[Image.Image], float | None]:
    """The frames of an open file, upright and in sRGB, and the rate at which all of them are shown
    for as long as the file says: some are there more than once. The rate of a still image is None.

    Raises OutOfResources when they need too much memory.
    """
    share = MemoryShare("the video")
    frames, delays_ms = [], []
    for index in range(getattr(image, "n_frames", 1)):
        check()
        share.take_pixels(image.width, image.height)
        image.seek(index)
        frames.append(as_read(image))
        delays_ms.append(image.info.get("duration") or USUAL_DELAY_MS)
    if len(frames) == 1:
        return frames, None
    fps, counts = timing(delays_ms, unit_ms=10 if image.format == "GIF" else 1)
    return [frame for frame, count in zip(frames, counts, strict=True) for _ in range(count)], fps


def timing(delays_ms: Sequence[float], unit_ms: float) -> tuple[float, list[int]]:
    """The frames per second, and for how many of these each frame is shown.

    `unit_ms` is what the file counts in. Delays that differ by its rounding are those of a steady
    rate. Else it is the lowest whole number of frames per second in which no frame ends more than a
    unit away from its time.
    """
    if max(delays_ms) - min(delays_ms) <= unit_ms:
        return 1000 * len(delays_ms) / sum(delays_ms), [1] * len(delays_ms)
    ends_ms = list(accumulate(delays_ms))
    rates = (fps for fps in range(1, FASTEST_FPS) if _fits(ends_ms, fps, unit_ms))
    fps = next(rates, FASTEST_FPS)
    return fps, list(_counts(ends_ms, fps))


def _fits(ends_ms: Sequence[float], fps: int, unit_ms: float) -> bool:
    numbers = [round(end * fps / 1000) for end in ends_ms]
    is_near = all(
        abs(number * 1000 / fps - end) <= unit_ms
        for number, end in zip(numbers, ends_ms, strict=True)
    )
    return is_near and all(a < b for a, b in pairwise([0, *numbers]))


def _counts(ends_ms: Sequence[float], fps: int) -> Iterator[int]:
    shown = 0
    for end in ends_ms:
        count = max(1, round(end * fps / 1000) - shown)
        shown += count
        yield count
