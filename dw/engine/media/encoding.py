"""Encoding: results as the bytes of a file, and the verification of a written file.

The bytes depend on the result alone: no times, no paths, no random names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image

from dw.engine.media.animation import FASTEST_GIF_FPS, encode_gif
from dw.engine.media.audio import FORMATS as AUDIO_FORMATS
from dw.engine.media.audio import audio_extent, encode_audio
from dw.engine.media.image import FORMATS as IMAGE_FORMATS
from dw.engine.media.image import as_image, encode_image, image_extent, rgb
from dw.engine.media.media_info import MediaInfo, kind_of
from dw.engine.media.video import CONTAINERS, FPS, Video, as_video, encode_video, video_extent
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


def encode(value: Any, spec: Result, metadata: Mapping[str, Any] | None = None) -> Encoded:
    """Raises RunFailed if a file of this type cannot hold `value`."""
    content_type = spec.content_type
    if content_type in IMAGE_FORMATS:
        return Encoded(*encode_image(as_image(value, content_type), content_type, metadata))
    if content_type in AUDIO_FORMATS:
        return Encoded(*encode_audio(value, spec))
    if content_type in CONTAINERS:
        video = audible(as_video(value, content_type), spec)
        return Encoded(*encode_video(video, content_type, spec.fps or video.fps or FPS))
    if content_type == "image/gif":
        video = as_video(value, content_type)
        fps = spec.fps or video.fps or FPS
        if fps > FASTEST_GIF_FPS and len(video) > 1:
            progress_bars.warn(
                f"a GIF of {fps:g} frames per second is slow in most viewers: they show what is "
                f"above {FASTEST_GIF_FPS} at 10"
            )
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


def verify(file: BinaryIO, content_type: str, expected: MediaInfo) -> None:
    """Read a file back as its type. Raises RunFailed if it does not hold what was written."""
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
    return _json_extent if content_type == "application/json" else _text_extent


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
