"""Videos: frames with their audio, as the bytes of a file and back."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, overload

import av
import numpy as np
import torch
from PIL import Image

from dw.engine.media.audio import Audio, codec_rate
from dw.engine.media.image import as_image, rgb
from dw.engine.media.media_info import MediaInfo, kind_of
from dw.engine.media.memory_share import MemoryShare
from dw.engine.patches import progress_bars
from dw.errors import RunFailed
from dw.pixels import eight_bits

FPS = 8  # if the source of a video gives none

CONTAINERS = {
    "video/mp4": ("mp4", "libx264", "aac"),
    "video/quicktime": ("mov", "libx264", "aac"),
    "video/x-matroska": ("matroska", "libx264", "aac"),
    "video/webm": ("webm", "libvpx-vp9", "libopus"),
}
"""Content types, and FFmpeg's names for their container and codecs."""

OPTIONS = {
    "libx264": {"crf": "17", "x264-params": "cpu-independent=1"},
    "libvpx-vp9": {"crf": "24", "b:v": "0", "deadline": "good", "cpu-used": "4"},
}
"""Constant quality with hardly visible artefacts. Without `cpu-independent` x264 chooses algorithms
by the processor: with AVX-512, eight encodings of one video were six different files.
"""

THREADS = 4
"""The encoders divide a frame among them: with the machine's own number the bytes would depend on
it."""

_TURNS = {
    (0, 1, -1, 0): Image.Transpose.ROTATE_270,
    (-1, 0, 0, -1): Image.Transpose.ROTATE_180,
    (0, -1, 1, 0): Image.Transpose.ROTATE_90,
    (-1, 0, 0, 1): Image.Transpose.FLIP_LEFT_RIGHT,
    (1, 0, 0, -1): Image.Transpose.FLIP_TOP_BOTTOM,
    (0, 1, 1, 0): Image.Transpose.TRANSPOSE,
    (0, -1, -1, 0): Image.Transpose.TRANSVERSE,
}
"""The signs of a display matrix (ISO 14496-12, 6.2.2: where the axes x and y point), and what they
do to a frame."""


@dataclass(frozen=True, slots=True, eq=False)
class Video:
    """Frames and their audio.

    `frames` are images, an array (frames, height, width, channels) or a tensor (frames, channels,
    height, width); they can be iterated more than once. `fps` is None if unknown.
    """

    frames: Any
    audio: Audio | None = None
    fps: float | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[Image.Image]:
        return (as_image(frame) for frame in self.frames)

    def frame(self, index: int) -> Image.Image:
        return as_image(self.frames[index])


class Reel(Sequence[Image.Image]):
    """Frames in files, read again each time, so that none of them stays in memory.

    Each part is a file, its first frame, and the frame after its last.
    """

    def __init__(self, *parts: tuple[Path, int, int]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return sum(end - begin for _, begin, end in self._parts)

    def __iter__(self) -> Iterator[Image.Image]:
        for path, begin, end in self._parts:
            with av.open(str(path)) as container:
                frames = islice(container.decode(video=0), begin, end)
                yield from (frame.to_image() for frame in frames)

    @overload
    def __getitem__(self, index: int) -> Image.Image: ...

    @overload
    def __getitem__(self, index: slice) -> Reel: ...

    def __getitem__(self, index: int | slice) -> Image.Image | Reel:
        if isinstance(index, slice):
            return self._part(*index.indices(len(self))[:2])
        number = range(len(self))[index]
        return next(iter(self._part(number, number + 1)))

    def __add__(self, other: Reel) -> Reel:
        return Reel(*self._parts, *other._parts)

    def _part(self, first: int, last: int) -> Reel:
        parts, passed = [], 0
        for path, begin, end in self._parts:
            start, stop = begin + max(0, first - passed), begin + min(end - begin, last - passed)
            if start < stop:
                parts.append((path, start, stop))
            passed += end - begin
        return Reel(*parts)


def plain(value: Any, rate: int | None = None) -> Any:
    """Videos, audio and images, alone or in a list, as pipelines take them: the frames, the
    waveform (channels, samples), resampled to `rate`, and greys of 8 bits, as libraries clip
    others."""
    if isinstance(value, Video):
        return list(value.frames) if isinstance(value.frames, Reel) else value.frames
    if isinstance(value, Audio):
        return (value if rate is None else value.at(rate)).tensor
    if isinstance(value, Image.Image):
        return eight_bits(value)
    return [plain(item, rate) for item in value] if isinstance(value, list) else value


def as_video(value: Any, content_type: str = "a video") -> Video:
    """A video from the outputs of pipelines and tasks: frames, or one image.

    Raises RunFailed for anything else.
    """
    if isinstance(value, Image.Image):
        return Video([value])
    is_list = isinstance(value, Sequence) and not isinstance(value, str)
    is_array = isinstance(value, np.ndarray | torch.Tensor) and value.ndim == 4
    video = value if isinstance(value, Video) else Video(value)
    if (isinstance(value, Video) or is_list or is_array) and len(video):
        return video
    raise RunFailed(f"{content_type} cannot hold {kind_of(value)}")


def decode_frames(
    container: Any, check: Callable[[], None]
) -> tuple[list[Image.Image], float | None]:
    """The frames of an open file, turned as its display matrix says, and their rate if it is known.

    `check` raises when the run was cancelled. Raises OutOfResources when they need too much memory.
    """
    stream = container.streams.video[0]
    share = MemoryShare("the video")
    frames = []
    for frame in container.decode(stream):
        check()
        share.take_pixels(frame.width, frame.height)
        frames.append(_upright(frame))
    return frames, float(stream.average_rate or 0) or None


def _upright(frame: Any) -> Image.Image:
    image: Image.Image = frame.to_image()
    for data in frame.side_data:
        if data.type.name == "DISPLAYMATRIX":
            a, b, _, c, d, *_ = struct.unpack("=9i", bytes(data))
            turn = _TURNS.get(tuple((value > 0) - (value < 0) for value in (a, b, c, d)))
            return image if turn is None else image.transpose(turn)
    return image


def encode_video(
    video: Video,
    content_type: str,
    fps: float,
    *,
    crf: int | None = None,
    comment: str | None = None,
) -> tuple[bytes, MediaInfo]:
    """The encoded video, converted frame by frame, so that no second copy of the frames is made.
    `crf` replaces the default quality; 0 is the best. `comment`: a text that the container holds.

    H.264 with 4:2:0 chroma, which every player shows, has even sides: the last line of an odd one
    is there twice.
    """
    container, codec, audio_codec = CONTAINERS[content_type]
    frames = (rgb(frame) for frame in video)
    first = next(frames)
    size = width, height = coded_size(first.size, content_type)
    if size != first.size:
        progress_bars.warn(padding_note(first.size, content_type))
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container, options={"fflags": "+bitexact"}) as file:
        if comment is not None:
            file.metadata["comment"] = comment
        options = OPTIONS[codec] if crf is None else {**OPTIONS[codec], "crf": str(crf)}
        rate = Fraction(fps).limit_denominator(1001)  # FFmpeg takes frame rates as fractions
        stream = file.add_stream(codec, rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = THREADS
        track = None if video.audio is None else _Track(file, video.audio, audio_codec)
        for number, frame in enumerate(chain([first], frames), start=1):
            image = av.VideoFrame.from_image(_padded(frame, size))
            file.mux(stream.encode(image))
            if track is not None:
                track.write_until(number / fps)
        file.mux(stream.encode())
        if track is not None:
            track.finish()
    extent = MediaInfo(width, height, len(video), fps=fps)
    if track is not None:
        extent = replace(extent, samples=track.samples, sample_rate=track.rate)
    return buffer.getvalue(), extent


def coded_size(size: tuple[int, int], content_type: str) -> tuple[int, int]:
    """The size of a video of this type with frames of this size."""
    width, height = size
    is_even = CONTAINERS[content_type][1] == "libx264"
    return (width + width % 2, height + height % 2) if is_even else size


def padding_note(size: tuple[int, int], content_type: str) -> str:
    made, coded = ("{}x{}".format(*each) for each in (size, coded_size(size, content_type)))
    return (
        f"a video of {made} is written as {coded}: H.264 needs even sides, so its last line is "
        "repeated; video/webm keeps its size"
    )


def _padded(frame: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The frame, as large as `size` or a line smaller, with its last line repeated."""
    if frame.size == size:
        return frame
    pixels = np.asarray(frame)
    below, right = size[1] - frame.height, size[0] - frame.width
    return Image.fromarray(np.pad(pixels, ((0, below), (0, right), (0, 0)), "edge"))


class _Track:
    """An audio stream, written interleaved with the frames, as containers need it."""

    def __init__(self, file: Any, audio: Audio, codec: str) -> None:
        assert audio.rate is not None
        self.rate = codec_rate(audio.rate, codec)
        self.samples = round(len(audio) * self.rate / audio.rate)
        self._file = file
        self._audio = audio
        self._stream = file.add_stream(codec, rate=self.rate, layout=audio.layout)
        self._done = 0

    def write_until(self, seconds: float) -> None:
        assert self._audio.rate is not None
        self._write(min(len(self._audio), round(seconds * self._audio.rate)))

    def finish(self) -> None:
        self._write(len(self._audio))
        self._file.mux(self._stream.encode())

    def _write(self, end: int) -> None:
        if end > self._done:
            self._file.mux(self._stream.encode(self._audio.frame(self._done, end)))
            self._done = end


def video_extent(file: BinaryIO) -> MediaInfo:
    """The extent of any video that FFmpeg reads, decoded whole. Raises OSError or ValueError."""
    with av.open(file) as container:
        stream = container.streams.video[0]
        audio = next(iter(container.streams.audio), None)
        frames = samples = 0
        for frame in container.decode(*filter(None, (stream, audio))):
            if isinstance(frame, av.VideoFrame):
                frames += 1
            else:
                samples += frame.samples
        extent = MediaInfo(stream.width, stream.height, frames, fps=float(stream.average_rate or 0))
        return extent if audio is None else replace(extent, samples=samples, sample_rate=audio.rate)
