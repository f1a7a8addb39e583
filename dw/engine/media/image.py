"""Images: from the outputs of pipelines to the bytes of a file, and back to their size."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from dw.engine.media.media_info import MediaInfo, kind_of
from dw.engine.media.metadata import as_json
from dw.errors import RunFailed

FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
"""Content types and Pillow's names for them."""

EXIF_IFD, USER_COMMENT = 0x8769, 0x9286
QUALITY = 95
"""Of JPEG and WebP: artefacts are invisible, and a file has half of its size at 100."""


def as_image(value: Any, content_type: str = "an image") -> Image.Image:
    """An image from a PIL image, an array (height, width[, channels]) or a tensor (channels,
    height, width), of bytes or floats from 0 to 1. Raises RunFailed for anything else."""
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, torch.Tensor) and value.ndim == 3:
        value = value.movedim(0, -1)
        value = (value.float() if value.is_floating_point() else value).cpu().numpy()
    if isinstance(value, np.ndarray) and value.ndim in (2, 3):
        if value.dtype != np.uint8:
            value = (value.clip(0, 1) * 255).round().astype(np.uint8)
        is_grey = value.ndim == 3 and value.shape[-1] == 1
        return Image.fromarray(value[..., 0] if is_grey else value)
    raise RunFailed(f"{content_type} cannot hold {kind_of(value)}")


def as_pixels(image: Image.Image) -> torch.Tensor:
    """Pixels from 0 to 1, (1, channels, height, width)."""
    return torch.from_numpy(np.array(image, dtype=np.float32) / 255).permute(2, 0, 1)[None]


def encode_image(
    image: Image.Image, content_type: str, metadata: Mapping[str, Any] | None
) -> tuple[bytes, MediaInfo]:
    """`metadata` is written into the file as JSON: PNG's text `parameters`, the EXIF comment of
    JPEG and WebP."""
    buffer = io.BytesIO()
    text = None if metadata is None else json.dumps(as_json(metadata), ensure_ascii=False)
    match name := FORMATS[content_type]:
        case "PNG":
            info = PngImagePlugin.PngInfo()
            if text is not None:
                info.add_itxt("parameters", text)
            image.save(buffer, name, pnginfo=info)
        case "JPEG" | "WEBP":
            if name == "JPEG" and image.mode not in ("RGB", "L"):
                image = image.convert("RGB")
            options: dict[str, Any] = {"quality": QUALITY}
            if text is not None:
                options["exif"] = exif = Image.Exif()
                exif.get_ifd(EXIF_IFD)[USER_COMMENT] = b"UNICODE\0" + text.encode("utf-16-be")
            image.save(buffer, name, **options)
        case _:
            image.save(buffer, name)
    return buffer.getvalue(), MediaInfo(image.width, image.height, 1)


def encode_gif(frames: Sequence[Image.Image], fps: float) -> tuple[bytes, MediaInfo]:
    buffer = io.BytesIO()
    duration_ms = round(1000 / fps)
    frames[0].save(
        buffer, "GIF", save_all=True, append_images=frames[1:], duration=duration_ms, loop=0
    )
    # Pillow merges equal neighbours into one longer frame, so the count is read from the file.
    buffer.seek(0)
    return buffer.getvalue(), image_extent(buffer)


def image_extent(file: BinaryIO) -> MediaInfo:
    """The extent of any file that Pillow reads, decoded whole.

    Raises OSError, ValueError or SyntaxError.
    """
    with Image.open(file) as image:
        frames = getattr(image, "n_frames", 1)
        for index in range(frames):
            image.seek(index)
            image.load()
        return MediaInfo(image.width, image.height, frames)
