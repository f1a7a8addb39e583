"""Masks: images in which white is painted anew and black is kept."""

from __future__ import annotations

import numpy as np
from PIL import Image

IN_ALPHA = (
    "the mask is drawn in its alpha channel, its colours are all the same; save it in black and "
    "white: white is painted anew"
)
BLACK = "the mask is black everywhere, so that nothing is painted anew; white is"


def is_mask(key: str) -> bool:
    """Whether what is under this key is a mask."""
    return key == "mask" or key.endswith("mask_image")


def is_drawn_in_alpha(image: Image.Image) -> bool:
    """Whether only the transparency of an image tells its parts apart. It is not read: in some
    programs the opaque parts are meant, in others the transparent ones."""
    if "A" not in image.getbands() and "transparency" not in image.info:
        return False
    *colours, alpha = image.convert("RGBA").split()
    return _differs(alpha) and not any(map(_differs, colours))


def in_full_range(mask: Image.Image) -> Image.Image:
    """A mask of 0 and 1, as programs write it, with white in the place of 1."""
    is_dark = mask.mode in ("L", "RGB") and np.asarray(mask).max() == 1
    return mask.point(lambda value: value * 255) if is_dark else mask


def is_black(mask: Image.Image) -> bool:
    return not np.asarray(mask).any()


def _differs(band: Image.Image) -> bool:
    low, high = band.getextrema()
    return low != high
