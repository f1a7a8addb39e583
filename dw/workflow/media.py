"""Pictures and videos in a workflow: which keys hold them, and where they are."""

from __future__ import annotations

from typing import Literal

from dw.workflow.tree import JsonPath

Kind = Literal["image", "video"]

_KINDS: tuple[Kind, ...] = ("image", "video")
_ARGUMENTS = frozenset({"arguments", "inputs"})


def media_kind(key: str) -> Kind | None:
    """What the values under `key` are loaded as: `image` and `mask_image` hold images."""
    return next((kind for kind in _KINDS if key == kind or key.endswith(f"_{kind}")), None)


def is_media(path: JsonPath) -> bool:
    """Whether a string at this path of a workflow is the place of an image or a video.

    It is under a key such as `image` or `mask_image`, alone, in a list, or as `{"location": ...}`.
    """
    keys = [part for part in path[3:] if isinstance(part, str)]
    if not keys or keys.pop(0) not in _ARGUMENTS or not keys:
        return False
    return keys[-1] == "location" or media_kind(keys[-1]) is not None


def is_url(place: str) -> bool:
    return place.lower().startswith(("http://", "https://"))
