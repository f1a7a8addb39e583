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
from dw.errors import RunFailed
from dw.workflow.format.construction import PLAIN_STRINGS, is_dtype_key, is_type_key
from dw.workflow.media import media_kind
from dw.workflow.references import is_reference


def realize(value: Any, *, access: FileAccess, key: str = "") -> Any:
    """A copy of `value`, the value of `key`, with media loaded and type names resolved.

    Images are under `image` and `..._image`, videos under `video` and `..._video`, audio under
    `audio` and `..._audio`, types under `..._type` and `..._dtype`; `{"media_type": "image",
    "location": ...}` is an image under any key. References to results stay. Raises RunFailed for a
    file that cannot or must not be read.
    """
    if isinstance(value, str):
        return value if is_reference(value) else _text(value, key, access)
    if isinstance(value, Mapping):
        if (load := _loader(key, value)) is not None:
            place = value["location"]
            return load(place, access) if isinstance(place, str) else place
        return {k: realize(v, access=access, key=k) for k, v in value.items()}
    if isinstance(value, list):
        inner = key if media_kind(key) else ""
        return [realize(item, access=access, key=inner) for item in value]
    return value


def _text(text: str, key: str, access: FileAccess) -> Any:
    """The medium or the Python type that a text names, or the text itself without its braces."""
    if (kind := media_kind(key)) is not None:
        return _LOADERS[kind](text, access)
    is_plain = text.startswith("{") and text.endswith("}")
    if key in PLAIN_STRINGS or (is_type_key(key) and is_plain):
        return text[1:-1] if is_plain else text
    if is_dtype_key(key):
        return resolve.dtype(text)
    return resolve.python_class(text, trust=access.permissions.trust) if is_type_key(key) else text


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


Loader = Callable[[str, FileAccess], Any]

_LOADERS: dict[str, Loader] = {"image": read_image, "video": read_video, "audio": read_audio}


def _loader(key: str, value: Mapping[str, Any]) -> Loader | None:
    if "location" not in value:
        return None
    return _LOADERS.get(str(value.get("media_type"))) or _LOADERS.get(media_kind(key) or "")


def _unreadable(kind: str, place: str, error: Exception) -> RunFailed:
    hints = error.hints if isinstance(error, RunFailed) else ()
    return RunFailed(f"cannot read the {kind} {place!r}: {_reason(error, kind)}", hints=hints)


def _reason(error: Exception, kind: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, UnidentifiedImageError | av.error.InvalidDataError):
        return f"not a valid {kind} file"
    return " ".join(str(error).split())
