"""Commands that change the size of a picture, or what it carries along."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageOps

from dw.engine.tasks.registry import task
from dw.errors import RunFailed

ALIGNMENT = 64  # pixels; diffusion models want sides that their layers can halve several times
RATIOS = ("1:1", "4:3", "3:4", "3:2", "2:3", "16:9", "9:16")


@task()
def resize_center_crop(image: Image.Image, width: int = 768, height: int = 768) -> Image.Image:
    """Fill width x height, and cut off evenly what stands over."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


@task()
def resize_rescale(image: Image.Image, width: int = 768, height: int = 768) -> Image.Image:
    """Exactly width x height, whatever that does to the shape."""
    return image.resize((width, height), Image.Resampling.LANCZOS)


@task()
def resize_resample(image: Image.Image, resolution: int = 1024) -> Image.Image:
    """The short side becomes `resolution`, the shape stays but for rounding to multiples of 64."""
    scale = resolution / min(image.size)
    return image.resize(
        _aligned(image.width * scale, image.height * scale, ALIGNMENT), Image.Resampling.LANCZOS
    )


@task()
def resize_bucket(
    image: Image.Image,
    resolution: int = 1024,
    ratios: Sequence[str] = RATIOS,
    alignment: int = ALIGNMENT,
) -> Image.Image:
    """Fill the bucket whose shape is nearest: `resolution` squared pixels in one of the ratios
    `width:height`."""
    shapes = [_ratio(text) for text in ratios]
    if not shapes:
        raise RunFailed("resize_bucket needs at least one ratio")
    own = image.width / image.height
    ratio = min(shapes, key=lambda shape: abs(shape - own))
    size = _aligned(resolution * ratio**0.5, resolution / ratio**0.5, alignment)
    return ImageOps.fit(image, size, Image.Resampling.LANCZOS)


@task()
def crop_square(image: Image.Image) -> Image.Image:
    """The largest square in the middle."""
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return image.crop((left, top, left + side, top + side))


@task()
def get_image_size(image: Image.Image) -> dict[str, int]:
    return {"width": image.width, "height": image.height}


@task()
def strip_exif(image: Image.Image) -> Image.Image:
    """The pixels alone, turned upright."""
    upright = ImageOps.exif_transpose(image)
    plain = Image.new(upright.mode, upright.size)
    plain.paste(upright)
    return plain


def _aligned(width: float, height: float, alignment: int) -> tuple[int, int]:
    return _multiple(width, alignment), _multiple(height, alignment)


def _multiple(side: float, alignment: int) -> int:
    return max(alignment, round(side / alignment) * alignment)


def _ratio(text: str) -> float:
    width, _, height = text.partition(":")
    try:
        return float(width) / float(height or 1)
    except (ValueError, ZeroDivisionError):
        raise RunFailed(f"a ratio is written '16:9', got {text!r}") from None
