"""Inputs: the arguments of a workflow turned into the images, videos, audio and Python types that a
pipeline takes.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

import av
from PIL import Image, UnidentifiedImageError

from dw.engine.files.access import FileAccess
from dw.engine.media.animation import FORMATS as ANIMATIONS
from dw.engine.media.animation import decode_animation
from dw.engine.media.audio import Audio
from dw.engine.media.audio_reading import decode_audio
from dw.engine.media.colour_profile import as_read
from dw.engine.media.containers import opened
from dw.engine.media.mask import IN_ALPHA, is_drawn_in_alpha, is_mask
from dw.engine.media.video import Video, decode_frames
from dw.engine.python import resolve
from dw.errors import OutOfResources, RunFailed, told
from dw.pixels import open_image
from dw.workflow.format.construction import is_class_key, is_dtype_key, text_in_braces
from dw.workflow.media import media_kind
from dw.workflow.references import is_reference


def realize(value: Any, *, access: FileAccess, key: str = "") -> Any:
    """A copy of `value`, the value of `key`, with media loaded and type names resolved.

    Images are under `image` and `..._image`, videos under `video` and `..._video`, audio under
    `audio` and `..._audio`, types under `..._type` and `..._dtype`; `{"media_type": "image",
    "location": ...}` is an image under any key. References to results stay. Raises RunFailed for a
    file that cannot or must not be read.
    """
    kind = media_kind(key)
    if isinstance(value, Mapping):
        load = _loader(str(value.get("media_type")), key) or _loader(kind or "", key)
        if load is not None and "location" in value:
            place = value["location"]
            return load(place, access) if isinstance(place, str) else place
        return {k: realize(v, access=access, key=k) for k, v in value.items()}
    if isinstance(value, list):
        return [realize(item, access=access, key=key if kind else "") for item in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    if kind is not None and (load := _loader(kind, key)) is not None:
        return load(value, access)
    if (text := text_in_braces(key, value)) is not None:
        return text
    if is_dtype_key(key):
        return resolve.dtype(value)
    if is_class_key(key):
        return resolve.python_class(value, trust=access.permissions.trust)
    return value


def read_image(place: str, access: FileAccess) -> Image.Image:
    """An image from a path or URL as its maker meant it: upright, in sRGB, as RGB."""
    try:
        with open_image(access.source(place)) as image:
            return as_read(image)
    except (OSError, ValueError, RunFailed, Image.DecompressionBombError) as error:
        raise _unreadable("image", place, error) from error


def read_mask(place: str, access: FileAccess) -> Image.Image:
    """A mask from a path or URL."""
    try:
        with open_image(access.source(place)) as image:
            if is_drawn_in_alpha(image):
                raise RunFailed(IN_ALPHA)
            return as_read(image)
    except (OSError, ValueError, RunFailed, Image.DecompressionBombError) as error:
        raise _unreadable("image", place, error) from error


def read_video(place: str, access: FileAccess) -> Video:
    """A video from a path or URL, with its audio. An animation is one."""
    try:
        source = access.source(place)
        if (image := _animation(source)) is not None:
            with image:
                frames, fps = decode_animation(image, access.check)
                return Video(frames, fps=fps)
        with opened(source) as container:
            frames, fps = decode_frames(container, access.check)
            container.seek(0)  # it was read to its end
            return Video(frames, decode_audio(container, access.check), fps)
    except (OSError, ValueError, IndexError, RunFailed, Image.DecompressionBombError) as error:
        raise _unreadable("video", place, error) from error


def read_audio(place: str, access: FileAccess) -> Audio:
    """Audio from a path or URL, which may be of a video."""
    try:
        with opened(access.source(place)) as container:
            if (audio := decode_audio(container, access.check)) is None:
                raise RunFailed("it has no audio stream")
            return audio
    except (OSError, ValueError, RunFailed) as error:
        raise _unreadable("audio", place, error) from error


def _animation(source: str | io.BytesIO) -> Image.Image | None:
    """The file as an image of Pillow, None if it is a video."""
    try:
        return open_image(source, ANIMATIONS)
    except UnidentifiedImageError:
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return None


_LOADERS: dict[str, Callable[[str, FileAccess], Any]] = {
    "image": read_image,
    "video": read_video,
    "audio": read_audio,
}


def _loader(kind: str, key: str) -> Callable[[str, FileAccess], Any] | None:
    return read_mask if kind == "image" and is_mask(key) else _LOADERS.get(kind)


def _unreadable(kind: str, place: str, error: Exception) -> RunFailed:
    hints = error.hints if isinstance(error, RunFailed) else ()
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, UnidentifiedImageError | av.error.InvalidDataError):
        reason = f"not a valid {kind} file"
    else:
        reason = error.message if isinstance(error, RunFailed) else told(error)
    failure = OutOfResources if isinstance(error, OutOfResources) else RunFailed
    return failure(f"cannot read the {kind} {place!r}: {reason}", hints=hints)
