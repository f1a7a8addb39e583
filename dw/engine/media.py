"""Arguments as a workflow writes them, made into what a pipeline takes: pictures, videos, Python
types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import av
from diffusers.utils import load_image
from PIL import Image, UnidentifiedImageError

from dw.engine import names
from dw.engine.reach import Reach
from dw.errors import RunFailed
from dw.workflow.classes import is_dtype_key, is_type_key
from dw.workflow.media import media_kind
from dw.workflow.references import is_reference


def realize(value: Any, *, reach: Reach, key: str = "") -> Any:
    """A copy of `value`, which stands under `key`, with media loaded and type names resolved.

    Pictures are under `image` and `..._image`, videos under `video` and `..._video`, types under
    `..._type` and `..._dtype`; `{"media_type": "image", "location": ...}` is a picture anywhere.
    References to results stay. Raises RunFailed for what cannot or must not be read.
    """
    if isinstance(value, str) and is_reference(value):
        return value
    if (load := _loader(key, value)) is not None:
        return _media(value, load, reach)
    if isinstance(value, str) and is_type_key(key):
        is_plain = value.startswith("{")
        return (
            names.dtype(value)
            if is_dtype_key(key) and not is_plain
            else names.resolve(value, trust=reach.trust)
        )
    if isinstance(value, Mapping):
        return {k: realize(v, reach=reach, key=k) for k, v in value.items()}
    if isinstance(value, list):
        return [realize(v, reach=reach) for v in value]
    return value


def read_image(place: str, reach: Reach) -> Image.Image:
    """A picture from a path or URL, as RGB and upright."""
    try:
        with Image.open(reach.source(place)) as picture:
            return load_image(picture)  # type: ignore[no-any-return]
    except (OSError, ValueError, RunFailed, Image.DecompressionBombError) as error:
        raise _unreadable("picture", place, error) from error


def read_video(place: str, reach: Reach) -> list[Image.Image]:
    """The frames of a video from a path or URL."""
    try:
        with av.open(reach.source(place)) as container:
            return [frame.to_image() for frame in container.decode(video=0)]
    except (OSError, ValueError, IndexError, RunFailed) as error:
        raise _unreadable("video", place, error) from error


Loader = Callable[[str, Reach], Any]

_LOADERS: dict[str, Loader] = {"image": read_image, "video": read_video}


def _loader(key: str, value: Any) -> Loader | None:
    told = value.get("media_type") if isinstance(value, Mapping) and "location" in value else None
    return _LOADERS.get(str(told)) or _LOADERS.get(media_kind(key) or "")


def _media(value: Any, load: Loader, reach: Reach) -> Any:
    """Strings and `{"location": ...}` are loaded, alone or in a list; what is loaded already is
    kept."""
    if isinstance(value, list):
        return [_media(item, load, reach) for item in value]
    place = value.get("location") if isinstance(value, Mapping) else value
    if isinstance(place, str) and not is_reference(place):
        return load(place, reach)
    return value


def _unreadable(kind: str, place: str, error: Exception) -> RunFailed:
    hints = error.hints if isinstance(error, RunFailed) else ()
    return RunFailed(f"cannot read the {kind} {place!r}: {_reason(error, kind)}", hints=hints)


def _reason(error: Exception, kind: str) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file"
    if isinstance(error, UnidentifiedImageError | av.error.InvalidDataError):
        return f"it is no {kind}"
    return " ".join(str(error).split())
