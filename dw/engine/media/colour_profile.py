"""Colour profiles: images of any mode and ICC profile in sRGB, which all models are trained on."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
from PIL import Image, ImageChops, ImageCms, ImageOps

from dw.engine.media.image import warn_of_range
from dw.engine.patches import progress_bars
from dw.errors import told
from dw.pixels import eight_bits

MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
"""Colour spaces of ICC profiles, and the modes of images in them."""

ROUNDING = 1  # of 255: a profile that moves no value further is sRGB itself


def as_read(image: Image.Image) -> Image.Image:
    """The pixels of a file as its maker meant them: upright, in sRGB, 8 bits, RGB.

    Nothing else of the file stays with them: no comment, EXIF, position or profile. A warning tells
    of a profile that cannot be used.
    """
    data = image.info.get("icc_profile")
    turned = _flat(ImageOps.exif_transpose(image))
    found = turned
    if data or turned.mode == "LAB":
        try:
            found = _converted(turned, data)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
            progress_bars.warn(f"an image is read without its colour profile: {told(error)}")
    found = found.convert("RGB")
    found.info = {}
    return found


def _flat(image: Image.Image) -> Image.Image:
    """The image in a mode of 8 bits that a profile can be for, without transparency."""
    if image.mode == "F":
        image = _finite(image)
    warn_of_range(image)
    image = eight_bits(image)
    if image.mode in ("LA", "1"):
        return image.convert("L")
    return image if image.mode in MODES.values() else image.convert("RGB")


def _finite(image: Image.Image) -> Image.Image:
    """Floats whose infinite values, the background of a depth map, are the ends of the others, and
    those that are no numbers are black."""
    values = np.asarray(image)
    known = values[np.isfinite(values)]
    if not known.size:
        return Image.new("F", image.size)
    low, high = known.min(), known.max()
    return Image.fromarray(np.nan_to_num(values, nan=low, posinf=high, neginf=low))


def _converted(image: Image.Image, data: bytes | None) -> Image.Image:
    """Raises PyCMSError, OSError, ValueError or TypeError for a profile that does not fit."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(data)) if data else _lab()
    wanted = MODES.get(profile.profile.xcolor_space.strip(), image.mode)
    if image.mode == "L":
        image = image.convert(wanted)  # greys are often tagged with a profile of colours
    found = ImageCms.profileToProfile(image, profile, _srgb(), outputMode="RGB")
    assert found is not None  # it is not done in place
    plain = image.convert("RGB") if image.mode == "L" else image
    if plain.mode == "RGB":
        changes = ImageChops.difference(plain, found).getextrema()
        if all(high <= ROUNDING for _, high in changes):  # type: ignore[misc]
            return plain
    return found


@cache
def _srgb() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


@cache
def _lab() -> ImageCms.ImageCmsProfile:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
