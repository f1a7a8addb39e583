"""Arguments as a workflow writes them, made into what a pipeline takes: pictures, videos, Python
types."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import av
from diffusers.utils import load_image
from PIL import Image

from dw.engine import names
from dw.errors import RunFailed
from dw.workflow.classes import is_dtype_key, is_type_key
from dw.workflow.references import is_reference
from dw.workflow.world import resolve

FETCH_TIMEOUT_S = 60.0


def realize(value: Any, *, folder: Path, trust: bool = False, key: str = "") -> Any:
    """A copy of `value`, which stands under `key`, with media loaded and type names resolved.

    Pictures are under `image` and `..._image`, videos under `video` and `..._video`, types under
    `..._type` and `..._dtype`; `{"media_type": "image", "location": ...}` is a picture anywhere.
    Relative paths start at `folder`. References to results stay. Raises RunFailed for what cannot
    be read.
    """
    if isinstance(value, str) and is_reference(value):
        return value
    if (load := _loader(key, value)) is not None:
        return _media(value, load, folder)
    if isinstance(value, str) and is_type_key(key):
        is_plain = value.startswith("{")
        return (
            names.dtype(value)
            if is_dtype_key(key) and not is_plain
            else names.resolve(value, trust=trust)
        )
    if isinstance(value, Mapping):
        return {k: realize(v, folder=folder, trust=trust, key=k) for k, v in value.items()}
    if isinstance(value, list):
        return [realize(v, folder=folder, trust=trust) for v in value]
    return value


def read_image(place: str, folder: Path) -> Image.Image:
    """A picture from a path or URL, as RGB and upright."""
    source = place if _is_url(place) else str(resolve(place, folder))
    try:
        return load_image(source)  # type: ignore[no-any-return]
    except (OSError, ValueError) as error:
        raise _unreadable("picture", place, error) from error


def read_video(place: str, folder: Path) -> list[Image.Image]:
    """The frames of a video from a path or URL."""
    try:
        with av.open(
            _opened(place) if _is_url(place) else str(resolve(place, folder))
        ) as container:
            return [frame.to_image() for frame in container.decode(video=0)]
    except (OSError, ValueError, IndexError) as error:
        raise _unreadable("video", place, error) from error


Loader = Callable[[str, Path], Any]


def _loader(key: str, value: Any) -> Loader | None:
    kind = value.get("media_type") if isinstance(value, Mapping) and "location" in value else None
    if kind == "image" or key == "image" or key.endswith("_image"):
        return read_image
    if kind == "video" or key == "video" or key.endswith("_video"):
        return read_video
    return None


def _media(value: Any, load: Loader, folder: Path) -> Any:
    """Strings and `{"location": ...}` are loaded, alone or in a list; what is loaded already is
    kept."""
    if isinstance(value, list):
        return [_media(item, load, folder) for item in value]
    place = value.get("location") if isinstance(value, Mapping) else value
    if isinstance(place, str) and not is_reference(place):
        return load(place, folder)
    return value


def _is_url(place: str) -> bool:
    return place.startswith(("http://", "https://"))


def _opened(url: str) -> io.BytesIO:
    with urlopen(url, timeout=FETCH_TIMEOUT_S) as answer:  # http and https only, see _is_url
        return io.BytesIO(answer.read())


def _unreadable(kind: str, place: str, error: Exception) -> RunFailed:
    reason = "there is no such file" if isinstance(error, FileNotFoundError) else str(error)
    return RunFailed(f"cannot read the {kind} {place!r}: {reason}")
