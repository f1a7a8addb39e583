"""Media: which keys of a workflow hold images, videos and audio, and from where."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath
from typing import Any, Literal
from urllib.parse import urlsplit

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.construction import FROM_FILE, construction
from dw.workflow.json_path import JsonPath, spell_value, walk

MediaKind = Literal["image", "video", "audio"]

KINDS: tuple[MediaKind, ...] = ("image", "video", "audio")
EXTENSIONS = {
    "image": ("jpg", "jpeg", "png", "gif", "bmp", "webp"),
    "video": ("mp4", "avi", "mkv", "mov", "webm"),
    "audio": ("wav", "aiff", "flac", "mp3", "ogg", "opus"),
}
"""Extensions of the files that objects are made from."""

_ARGUMENTS = frozenset({"arguments", "inputs"})
_PLACES = frozenset({"location", FROM_FILE, "urls", "glob"})


def media_kind(key: str) -> MediaKind | None:
    """What the values under `key` are loaded as: `image` and `mask_image` hold images."""
    return next((kind for kind in KINDS if key == kind or key.endswith(f"_{kind}")), None)


def is_media_reference(value: Any) -> bool:
    """Whether it names its kind itself: `{"media_type": ..., "location": ...}`."""
    return isinstance(value, dict) and {"media_type", "location"} <= value.keys()


def media_reference(kind: MediaKind, value: Any) -> Any:
    """The value of a variable whose name is that of media, for a key that names no kind."""
    if isinstance(value, list):
        return [media_reference(kind, item) for item in value]
    if isinstance(value, str):
        return {"media_type": kind, "location": value}
    return {"media_type": kind, **value} if isinstance(value, dict) else value


def takes_media(path: JsonPath) -> bool:
    """Whether a value at this path is an argument, which may be media, under a key that names no
    kind."""
    keys = _argument_keys(path)
    if keys is None:
        return False
    return not keys or (keys[-1] not in _PLACES and media_kind(keys[-1]) is None)


def media_places(data: Any) -> Iterator[tuple[JsonPath, str]]:
    """Each path and URL of an image, a video or audio in the arguments of a workflow's steps.

    It stands under a key such as `image` or `mask_image`, alone, in a list, or as
    `{"location": ...}`; or under `from_file`.
    """
    for path, value in walk(data.get("steps"), ("steps",)):
        keys = _argument_keys(path)
        if keys is None:
            continue
        if isinstance(value, str) and keys and media_kind(keys[-1]):
            yield path, value
        elif isinstance(value, dict):
            found, place = construction(value), value.get("location")
            is_named = bool(keys) and media_kind(keys[-1]) is not None
            if isinstance(place, str) and (is_named or "media_type" in value):
                yield (*path, "location"), place
            if found and found.constructor == FROM_FILE and isinstance(found.source, str):
                yield (*path, FROM_FILE), found.source


def check_media(data: Any) -> Diagnostics:
    """Unknown values of `media_type`."""
    for path, value in walk(data.get("steps"), ("steps",)):
        if is_media_reference(value) and value["media_type"] not in KINDS:
            kind = value["media_type"]
            hint = did_you_mean(kind, KINDS) if isinstance(kind, str) else ""
            message = f"'media_type' must be one of {', '.join(map(repr, KINDS))}, got "
            yield DataDiagnostic((*path, "media_type"), f"{message}{spell_value(kind)}{hint}")


def extension_error(place: str) -> str | None:
    """The error for the extension of a file's name; a URL needs none."""
    name = urlsplit(place).path if is_url(place) else place
    extension = PurePath(name).suffix[1:].lower()
    known = [each for extensions in EXTENSIONS.values() for each in extensions]
    if extension in known or (is_url(place) and not extension):
        return None
    return f"{place!r} is not an image, video or audio file: known are {', '.join(known)}"


def is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))


def _argument_keys(path: JsonPath) -> list[str] | None:
    """The keys below `arguments` or `inputs` of a step's action; None elsewhere."""
    if path[3:4] == () or path[3] not in _ARGUMENTS:
        return None
    return [part for part in path[4:] if isinstance(part, str)]
