"""Images: from the outputs of pipelines to the bytes of a file, and back to their size."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from dw.engine.media import exif
from dw.engine.media.file_origin import FileOrigin
from dw.engine.media.media_info import MediaInfo, kind_of
from dw.engine.media.metadata import embedded, storable_text
from dw.engine.patches import progress_bars
from dw.errors import RunFailed
from dw.origins import KEY
from dw.pixels import FULL_16, eight_bits, grey_range, open_image, sixteen_bits

FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
"""Content types and Pillow's names for them."""

MODES = {
    "PNG": ("1", "L", "LA", "I;16", "RGB", "RGBA"),
    "JPEG": ("L", "RGB"),
    "WEBP": ("L", "RGB", "RGBA"),
    "BMP": ("1", "L", "RGB", "RGBA"),
    "TIFF": ("1", "L", "LA", "I;16", "I", "F", "RGB", "RGBA", "CMYK", "LAB"),
}
"""Modes of images that a format holds unchanged."""

QUALITY = 95
"""Of JPEG and WebP: artefacts are invisible, and a file has half of its size at 100."""


def as_image(value: Any, content_type: str = "an image") -> Image.Image:
    """An image from a PIL image, an array (height, width[, channels]) or a tensor (channels,
    height, width), of integers or floats from 0 to 1. Raises RunFailed for anything else.

    Integers of 16 bits stay so in a grey image.
    """
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, torch.Tensor) and value.ndim == 3:
        value = value.movedim(0, -1)
        value = (value.float() if value.is_floating_point() else value).cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        is_grey = value.ndim == 3 and value.shape[-1] == 1
        value = value[..., 0] if is_grey else value
        return Image.fromarray(value if value.dtype == np.uint8 else _integers(value))
    raise RunFailed(f"{content_type} cannot hold {kind_of(value)}")


def _integers(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pixels as bytes; those of a grey image whose integers need more as 16 bits."""
    if array.dtype.kind not in "iu":
        return (array.clip(0, 1) * 255).round().astype(np.uint8)
    if array.dtype != np.uint16 and (most := array.max(initial=0)) <= 255:
        return (array.clip(0) * (255 if most <= 1 else 1)).astype(np.uint8)  # a mask of 0 and 1
    wide = array.clip(*FULL_16).astype(np.uint16)
    return wide if array.ndim == 2 else (wide / 257).round().astype(np.uint8)


def as_pixels(image: Image.Image) -> torch.Tensor:
    """Pixels from 0 to 1, (1, channels, height, width)."""
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]


def rgb(image: Image.Image) -> Image.Image:
    """The pixels as RGB, and nothing else. Greys of more than 8 bits are scaled; Pillow's `convert`
    clips them."""
    plain = eight_bits(image).convert("RGB")
    plain.info = {}
    return plain


def warn_of_range(image: Image.Image) -> None:
    """Warn where nothing tells which of a grey image's values is white."""
    if (found := grey_range(image)) not in (None, FULL_16, (0, 1)):
        low, high = found or FULL_16
        progress_bars.warn(
            f"an image whose values run from {low:g} to {high:g} is taken to be black at the "
            "lowest and white at the highest"
        )


def encode_image(
    image: Image.Image,
    content_type: str,
    metadata: Mapping[str, Any] | None,
    origin: FileOrigin | None = None,
) -> tuple[bytes, MediaInfo]:
    """`metadata` is written into the file as JSON: PNG's text `parameters`, the EXIF comment of
    JPEG and WebP. Without it `origin` has its line there; it also has a place of its own. What came
    with the image, such as the comment of the file that it was read from,
    is not."""
    buffer = io.BytesIO()
    name = FORMATS[content_type]
    image = storable(image, name)
    match name:
        case "PNG":
            info = PngImagePlugin.PngInfo()
            if metadata is not None:
                info.add_itxt("parameters", embedded(metadata))
            elif origin is not None and origin.parameters is not None:
                info.add_itxt("parameters", storable_text(origin.parameters))
            if origin is not None:
                info.add_itxt(KEY, origin.text())
            image.save(buffer, name, pnginfo=info)
        case "JPEG" | "WEBP":
            options: dict[str, Any] = {"quality": QUALITY}
            longest = exif.LONGEST_IN_JPEG if name == "JPEG" else None
            if (block := exif_block(metadata, origin, longest)) is not None:
                options["exif"] = block
            image.save(buffer, name, **options)
        case _:
            image.save(buffer, name)
    return buffer.getvalue(), MediaInfo(image.width, image.height, 1)


def exif_block(
    metadata: Mapping[str, Any] | None, origin: FileOrigin | None, longest: int | None
) -> bytes | None:
    """The metadata, or the line of the origin, as an EXIF comment, and the origin as its note.
    Shortened to `longest` bytes, the metadata with a warning; the note takes what is left."""

    def fits(text: str | None, note: str = "") -> bool:
        return longest is None or len(exif.comment_block(text, note)) <= longest

    text = None if origin is None else origin.parameters
    if metadata is not None:
        text = embedded(metadata, fits)
    elif text is not None:
        text = storable_text(text)
        text = text if fits(text) else None
    if origin is None:
        return None if text is None else exif.comment_block(text)
    note = origin.text(lambda note: fits(text, note))
    return exif.comment_block(text, note if fits(text, note) else "")


def storable(image: Image.Image, name: str) -> Image.Image:
    """The image alone, in a mode that the format of this name holds."""
    modes = MODES[name]
    plain = image
    if image.mode not in modes:
        warn_of_range(image)
        plain = sixteen_bits(image) if "I;16" in modes else eight_bits(image)
    if plain.mode not in modes:
        is_clear = plain.has_transparency_data and "RGBA" in modes
        plain = plain.convert("RGBA" if is_clear else "RGB")
    if plain.info:
        plain = plain.copy()
        plain.info = {}
    return plain


def image_extent(file: BinaryIO) -> MediaInfo:
    """The extent of any file that Pillow reads, decoded whole.

    Raises OSError, ValueError or SyntaxError.
    """
    with open_image(file) as image:
        frames = getattr(image, "n_frames", 1)
        for index in range(frames):
            image.seek(index)
            image.load()
        return MediaInfo(image.width, image.height, frames)
