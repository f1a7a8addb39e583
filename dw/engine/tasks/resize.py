"""Resizing and cropping, and the metadata of images."""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from PIL import Image, ImageOps

from dw.engine.tasks.arguments import Positive, Side
from dw.engine.tasks.registry import task
from dw.errors import RunFailed

ALIGNMENT = 64  # pixels; the layers of diffusion models halve the sides several times
RATIOS = ("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16")


@task()
def resize_center_crop(image: Image.Image, width: Side = 768, height: Side = 768) -> Image.Image:
    """Fill width x height, cropped evenly on both sides."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


@task()
def resize_rescale(image: Image.Image, width: Side = 768, height: Side = 768) -> Image.Image:
    """Exactly width x height; the aspect ratio may change."""
    return image.resize((width, height), Image.Resampling.LANCZOS)


@task()
def resize_resample(image: Image.Image, resolution: Side = 1024) -> Image.Image:
    """The short side becomes `resolution`, the aspect ratio stays, rounded to multiples of 64."""
    scale = resolution / min(image.size)
    size = aligned(image.width * scale, image.height * scale)
    return image.resize(size, Image.Resampling.LANCZOS)


@task()
def resize_bucket(
    image: Image.Image,
    resolution: Side = 1024,
    ratios: Sequence[str | float] = RATIOS,
    alignment: Positive = ALIGNMENT,
) -> Image.Image:
    """Fill the bucket with the nearest aspect ratio: `resolution` squared pixels in one of the
    ratios `width:height` (`16:9`, or a number), both sides multiples of `alignment`."""
    shapes = [_ratio(each) for each in ratios]
    if not shapes:
        raise RunFailed("resize_bucket needs at least one ratio")
    own = image.width / image.height
    ratio = min(shapes, key=lambda shape: abs(log(shape / own)))
    size = aligned(resolution * ratio**0.5, resolution / ratio**0.5, alignment)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


@task()
def crop_square(image: Image.Image) -> Image.Image:
    """The largest square in the center."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    # `crop` has Pillow's limit on the pixels of files of others, which a result may exceed.
    box = (left, top, left + side, top + side)
    return image.resize((side, side), Image.Resampling.NEAREST, box)


@task()
def get_image_size(image: Image.Image) -> dict[str, int]:
    return {"width": image.width, "height": image.height}


@task()
def strip_exif(image: Image.Image) -> Image.Image:
    """The pixels without metadata, rotated upright."""
    upright = ImageOps.exif_transpose(image)
    plain = Image.new(upright.mode, upright.size)
    plain.paste(upright)
    return plain


def aligned(width: float, height: float, alignment: int = ALIGNMENT) -> tuple[int, int]:
    """Both sides rounded to multiples of `alignment`, at least `alignment`."""
    width, height = (
        max(alignment, round(side / alignment) * alignment) for side in (width, height)
    )
    return width, height


def _ratio(ratio: str | float) -> float:
    width, _, height = str(ratio).partition(":")
    try:
        shape = float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError):
        shape = 0
    if not shape > 0:
        raise RunFailed(f"a ratio must be written as '16:9' or a number, got {ratio!r}")
    return shape
