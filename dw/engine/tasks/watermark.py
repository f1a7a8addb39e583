"""Watermarks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from PIL import Image, ImageColor, ImageDraw, ImageFont

from dw.engine.tasks.arguments import Byte, Count
from dw.engine.tasks.registry import task
from dw.pixels import eight_bits

Position = Literal["top-left", "top-right", "bottom-left", "bottom-right", "center"]


@task()
def add_watermark(
    image: Image.Image,
    text: str = "AI Generated",
    position: Position = "bottom-right",
    opacity: Byte = 128,
    font_size: Count = 0,
    margin: Count = 10,
    color: str | Sequence[Byte] = "white",
) -> Image.Image:
    """Write a text on the image. An `opacity` of 255 is opaque; a `font_size` of 0 is a twentieth
    of the short side; `margin` is in pixels; `color` is a name, `#rrggbb` or [r, g, b]."""
    image = eight_bits(image)
    layer = Image.new("RGBA", image.size)
    draw = ImageDraw.Draw(layer)
    font = ImageFont.load_default(size=font_size or max(10, min(image.size) // 20))
    box = draw.textbbox((0, 0), text, font=font)
    place = _place(image.size, (box[2] - box[0], box[3] - box[1]), position, margin)
    red, green, blue = tuple(ImageColor.getrgb(color) if isinstance(color, str) else color)[:3]
    draw.text(
        (place[0] - box[0], place[1] - box[1]), text, font=font, fill=(red, green, blue, opacity)
    )
    return Image.alpha_composite(image.convert("RGBA"), layer).convert(image.mode)


def _place(
    size: tuple[int, int], text: tuple[float, float], position: str, margin: int
) -> tuple[float, float]:
    """The upper left corner of the text."""
    if position == "center":
        return (size[0] - text[0]) / 2, (size[1] - text[1]) / 2
    x = margin if position.endswith("left") else size[0] - text[0] - margin
    y = margin if position.startswith("top") else size[1] - text[1] - margin
    return x, y
