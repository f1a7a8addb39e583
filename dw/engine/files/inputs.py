"""Inputs: the arguments of a workflow turned into the images, videos, audio and Python types that a
pipeline takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import av
from diffusers.utils import load_image
from PIL import Image, UnidentifiedImageError

from dw.engine.files.access import FileAccess
from dw.engine.media.audio import Audio, decode_audio
from dw.engine.media.containers import opened
from dw.engine.media.video import Video
from dw.engine.python import resolve
from dw.errors import RunFailed, told
from dw.workflow.format.construction import PLAIN_STRINGS, is_class_key, is_dtype_key, is_type_key
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
        load = _LOADERS.get(str(value.get("media_type"))) or _LOADERS.get(kind or "")
        if load is not None and "location" in value:
            place = value["location"]
            return load(place, access) if isinstance(place, str) else place
        return {k: realize(v, access=access, key=k) for k, v in value.items()}
    if isinstance(value, list):
        return [realize(item, access=access, key=key if kind else "") for item in value]
    if not isinstance(value, str) or is_reference(value):
        return value
    if kind is not None:
        return _LOADERS[kind](value, access)
    is_in_braces = value.startswith("{") and value.endswith("}")  # a text, not the name of a type
    if is_in_braces and (key in PLAIN_STRINGS or is_type_key(key)):
        return value[1:-1]
    if is_dtype_key(key):
        return resolve.dtype(value)
    if is_class_key(key):
        return resolve.python_class(value, trust=access.permissions.trust)
    return value


def read_image(place: str, access: FileAccess) -> Image.Image:
    """An image from a path or URL, as RGB and upright."""
    try:
        with Image.open(access.source(place)) as image:
            return load_image(image)  # type: ignore[no-any-return]
    except (OSError, ValueError, RunFailed, Image.DecompressionBombError) as error:
        raise _unreadable("image", place, error) from error


def read_video(place: str, access: FileAccess) -> Video:
    """A video from a path or URL, with its audio."""
    try:
        with opened(access.source(place)) as container:
            stream = container.streams.video[0]
            frames = [frame.to_image() for frame in container.decode(stream)]
            fps = float(stream.average_rate or 0) or None
            container.seek(0)  # it was read to its end
            return Video(frames, decode_audio(container), fps)
    except (OSError, ValueError, IndexError, RunFailed) as error:
        raise _unreadable("video", place, error) from error


def read_audio(place: str, access: FileAccess) -> Audio:
    """Audio from a path or URL, which may be of a video."""
    try:
        with opened(access.source(place)) as container:
            if (audio := decode_audio(container)) is None:
                raise RunFailed("it has no audio stream")
            return audio
    except (OSError, ValueError, RunFailed) as error:
        raise _unreadable("audio", place, error) from error


_LOADERS: dict[str, Callable[[str, FileAccess], Any]] = {
    "image": read_image,
    "video": read_video,
    "audio": read_audio,
}


def _unreadable(kind: str, place: str, error: Exception) -> RunFailed:
    hints = error.hints if isinstance(error, RunFailed) else ()
    if isinstance(error, FileNotFoundError):
        reason = "no such file"
    elif isinstance(error, UnidentifiedImageError | av.error.InvalidDataError):
        reason = f"not a valid {kind} file"
    else:
        reason = told(error)
    return RunFailed(f"cannot read the {kind} {place!r}: {reason}", hints=hints)
