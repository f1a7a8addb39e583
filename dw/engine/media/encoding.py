"""Encoding: results as the bytes of a file, and the verification of a written file.

The bytes depend on the result alone: no times, no paths, no random names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from dw.engine.media.animation import FASTEST_GIF_FPS, encode_gif, slow_gif_note
from dw.engine.media.audio import FORMATS as AUDIO_FORMATS
from dw.engine.media.audio import audio_extent, encode_audio
from dw.engine.media.file_origin import FileOrigin
from dw.engine.media.image import FORMATS as IMAGE_FORMATS
from dw.engine.media.image import as_image, encode_image, image_extent, rgb
from dw.engine.media.limits import side_error
from dw.engine.media.media_info import MediaInfo, kind_of
from dw.engine.media.video import (
    CONTAINERS,
    FPS,
    Video,
    as_video,
    coded_size,
    encode_video,
    padding_note,
    video_extent,
)
from dw.engine.patches import progress_bars
from dw.errors import RunFailed
from dw.pixels import allowing
from dw.workflow.format.result import Result

EXTENSIONS = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/bmp": ".bmp",
    "image/tiff": ".tiff",
    "image/gif": ".gif",
    "video/mp4": ".mp4",
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/webm": ".webm",
    "audio/wav": ".wav",
    "audio/x-wav": ".wav",
    "audio/aiff": ".aiff",
    "audio/x-aiff": ".aiff",
    "audio/flac": ".flac",
    "audio/mpeg": ".mp3",
    "audio/mp3": ".mp3",
    "audio/ogg": ".ogg",
    "audio/opus": ".opus",
    "text/plain": ".txt",
    "text/markdown": ".md",
    "text/html": ".html",
    "text/csv": ".csv",
    "application/json": ".json",
}


@dataclass(frozen=True, slots=True)
class Encoded:
    data: bytes
    extent: MediaInfo


def encode(
    value: Any,
    spec: Result,
    metadata: Mapping[str, Any] | None = None,
    origin: FileOrigin | None = None,
) -> Encoded:
    """`metadata` and `origin` are written into files that have a place for them. Raises RunFailed
    if a file of this type cannot hold `value`."""
    content_type = spec.content_type
    if content_type in IMAGE_FORMATS:
        image = as_image(_still(value), content_type)
        _require_side(image, content_type)
        return Encoded(*encode_image(image, content_type, metadata, origin))
    if content_type in AUDIO_FORMATS:
        return Encoded(*encode_audio(value, spec))
    if content_type in CONTAINERS:
        video = audible(as_video(value, content_type), spec)
        _require_side(video.frame(0), content_type)
        comment = None if origin is None else origin.text()
        fps = spec.fps or video.fps or FPS
        return Encoded(*encode_video(video, content_type, fps, comment=comment))
    if content_type == "image/gif":
        video = as_video(value, content_type)
        _require_side(video.frame(0), content_type)
        fps = spec.fps or video.fps or FPS
        if fps > FASTEST_GIF_FPS and len(video) > 1:
            progress_bars.warn(slow_gif_note(fps))
        return Encoded(*encode_gif([rgb(frame) for frame in video], fps))
    if content_type == "application/json":
        try:
            text = json.dumps(value, indent=2, ensure_ascii=False, default=_plain)
        except TypeError as error:
            raise RunFailed(f"{content_type} cannot hold {kind_of(value)}: {error}") from error
        return Encoded(text.encode(), MediaInfo())
    if not isinstance(value, str):
        raise RunFailed(f"{content_type} cannot hold {kind_of(value)}")
    return Encoded(value.encode(), MediaInfo())


def _still(value: Any) -> Any:
    """The frame of a video that has only one, as a video model draws images."""
    is_video = isinstance(value, Video | list) or getattr(value, "ndim", 0) == 4
    return as_video(value).frame(0) if is_video and len(value) == 1 else value


def _require_side(image: Image.Image, content_type: str) -> None:
    """Raises RunFailed for an image that is larger than the format holds."""
    if message := side_error(image.width, image.height, content_type):
        raise RunFailed(message)


def audible(video: Video, spec: Result) -> Video:
    """The video with its audio at the sample rate of the result, without audio if the rate is
    unknown: see `is_muted`."""
    if video.audio is None or is_muted(video, spec):
        return Video(video.frames, fps=video.fps)
    rate = spec.audio_sample_rate or video.audio.rate
    assert rate is not None
    return Video(video.frames, video.audio.at(rate), video.fps)


def is_muted(value: Any, spec: Result) -> bool:
    """Whether a video has audio that cannot be written because its sample rate is unknown."""
    audio = value.audio if isinstance(value, Video) else None
    return audio is not None and not (audio.rate or spec.audio_sample_rate)


def foreseen(spec: Result, size: tuple[int, int] | None) -> Iterator[str]:
    """What will be otherwise in a file than in what it is made of. `size` is that of the images or
    frames, None if it is not known yet."""
    if spec.content_type == "image/gif" and (spec.fps or 0) > FASTEST_GIF_FPS:
        yield slow_gif_note(spec.fps or 0)
    is_video = spec.content_type in CONTAINERS and size is not None
    if size is not None and is_video and coded_size(size, spec.content_type) != size:
        yield padding_note(size, spec.content_type)


def verify(file: BinaryIO, content_type: str, expected: MediaInfo) -> None:
    """Read a whole file back as its type. Raises RunFailed if it does not hold what was written."""
    file.seek(0)
    if not file.read(1) and not content_type.startswith("text/"):
        raise RunFailed("the file is empty")
    file.seek(0)
    try:
        with allowing((expected.width or 0) * (expected.height or 0)):
            found = _reader(content_type)(file)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RunFailed(f"the file cannot be read back: {error}") from error
    if not expected.fits(found):
        raise RunFailed(f"the file was read back as {found}, not as {expected}")


def _reader(content_type: str) -> Callable[[BinaryIO], MediaInfo]:
    if content_type in AUDIO_FORMATS:
        return audio_extent
    if content_type in CONTAINERS:
        return video_extent
    if content_type.startswith("image/"):
        return image_extent
    if content_type.startswith("text/"):
        return _text_extent
    return _json_extent if content_type == "application/json" else lambda _: MediaInfo()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return value.tolist()
    raise TypeError(f"{kind_of(value)} is not JSON")


def _text_extent(file: BinaryIO) -> MediaInfo:
    file.read().decode()
    return MediaInfo()


def _json_extent(file: BinaryIO) -> MediaInfo:
    json.load(file)
    return MediaInfo()
