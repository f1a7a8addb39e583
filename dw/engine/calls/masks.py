"""Masks of a call: read as they are meant, and told where they mask nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from PIL import Image

from dw.engine.media.mask import BLACK, in_full_range, is_black, is_mask


def with_masks(arguments: Mapping[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    """The arguments with their masks in the full range of values; warns of a mask that is black,
    and of one with other proportions than its image."""
    given = dict(arguments)
    image = given.get("image")
    for name, mask in arguments.items():
        if not is_mask(name) or not isinstance(mask, Image.Image):
            continue
        given[name] = in_full_range(mask)
        if is_black(mask):
            warn(f"{name!r}: {BLACK}")
        if isinstance(image, Image.Image) and not _alike(image, mask):
            sizes = f"{mask.width}x{mask.height}, the image {image.width}x{image.height}"
            warn(f"{name!r} is {sizes}: it is stretched over it")
    return given


def _alike(image: Image.Image, mask: Image.Image) -> bool:
    """Whether both have the same proportions, within a pixel."""
    return abs(image.width * mask.height - mask.width * image.height) <= max(image.size + mask.size)
