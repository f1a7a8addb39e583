"""Pixels: image files opened, greys of any depth as 8 or 16 bits, the limit on an image's size."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from PIL import Image

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Pillow's names of what dw reads. A file is known by its content, whatever it is called, and some
of the other formats are opened by programs outside."""

FULL_16 = (0, 65535)
_limit = Lock()


def open_image(file: str | Path | BinaryIO, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The image in a file, which is the only way to open one. Raises OSError, ValueError and
    DecompressionBombError."""
    return Image.open(file, formats=formats)


def grey_range(image: Image.Image) -> tuple[float, float] | None:
    """The values of black and white in a grey image of more than 8 bits; None of any other image.

    Integers have 16 bits, and floats are from 0 to 1. Where a value lies outside, as in a depth map
    in metres, nothing tells what white is: it is the highest value, and black the lowest.
    """
    if image.mode.startswith("I;16"):
        return FULL_16
    if image.mode not in ("I", "F"):
        return None
    low, high = image.getextrema()
    usual = FULL_16 if image.mode == "I" else (0, 1)
    assert isinstance(low, int | float)
    assert isinstance(high, int | float)
    return usual if usual[0] <= low and high <= usual[1] else (low, high)


def eight_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits scaled to 8 (Pillow clips them at 255); other images unchanged."""
    return image if grey_range(image) is None else _scaled(image, 255).convert("L")


def sixteen_bits(image: Image.Image) -> Image.Image:
    """Greys of more than 8 bits in the mode `I;16`; other images unchanged."""
    if image.mode == "I;16" or grey_range(image) is None:
        return image
    return _scaled(image, 65535).convert("I").convert("I;16")


@contextmanager
def allowing(pixels: int = sys.maxsize) -> Iterator[None]:
    """Let Pillow open images of this size. Its own limit is for files of others: a result may be
    larger, and others gain no more than the size of what was just made.
    """
    with _limit:
        limit = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = None if limit is None else max(limit, pixels)
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _scaled(image: Image.Image, white: int) -> Image.Image:
    """The greys as floats from 0 to `white`, rounded when they are cut to integers."""
    found = grey_range(image)
    assert found is not None
    low, high = found
    scale = white / (high - low) if high > low else 0.0
    wide = image.convert("I") if image.mode.startswith("I;16") else image
    return wide.convert("F").point(lambda value: value * scale + (0.5 - low * scale))
