"""Outpainting tasks: an image on a larger canvas, and the mask of the new area."""

from __future__ import annotations

from typing import Annotated

from PIL import Image
from pydantic import Field

from dw.engine.media.image import rgb
from dw.engine.tasks.arguments import Count, Side
from dw.engine.tasks.registry import task
from dw.errors import RunFailed

ALIGNMENT = 32  # pixels

Growth = Annotated[float, Field(ge=0)]


@task()
def add_border_and_mask(
    image: Image.Image,
    zoom_all: Annotated[float, Field(ge=1)] = 1.0,
    zoom_left: Growth = 0.0,
    zoom_right: Growth = 0.0,
    zoom_up: Growth = 0.0,
    zoom_down: Growth = 0.0,
    overlap: Count = 0,
) -> dict[str, Image.Image]:
    """Enlarge the canvas by `zoom_all` around the center, and by the other factors on single sides.

    The mask is white outside the image and `overlap` pixels into it.
    """
    around_x, around_y = image.width * (zoom_all - 1) / 2, image.height * (zoom_all - 1) / 2
    left, right = around_x + image.width * zoom_left, around_x + image.width * zoom_right
    up, down = around_y + image.height * zoom_up, around_y + image.height * zoom_down
    width, height = _up(image.width + left + right), _up(image.height + up + down)
    return _bordered(image, (width, height), (int(left), int(up)), overlap)


@task()
def add_border_and_mask_with_size(
    image: Image.Image, width: Side, height: Side, overlap: Count = 0
) -> dict[str, Image.Image]:
    """Put the image in the center of a canvas of this size, shrunk to fit if it is too large."""
    scale = min(1.0, width / image.width, height / image.height)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    offset = ((width - image.width) // 2, (height - image.height) // 2)
    return _bordered(image, (width, height), offset, overlap)


def _bordered(
    image: Image.Image, size: tuple[int, int], offset: tuple[int, int], overlap: int
) -> dict[str, Image.Image]:
    if 2 * overlap >= min(image.size):
        raise RunFailed(
            f"an overlap of {overlap} leaves nothing of an image of {image.width}x{image.height}"
        )
    canvas = Image.new("RGB", size)
    canvas.paste(rgb(image), offset)
    mask = Image.new("L", size, 255)
    left, top = offset
    kept = (
        left + overlap,
        top + overlap,
        left + image.width - overlap,
        top + image.height - overlap,
    )
    mask.paste(0, kept)
    return {"bordered_image": canvas, "mask": mask}


def _up(side: float) -> int:
    """The next multiple of the alignment."""
    return -int(-side // ALIGNMENT) * ALIGNMENT
