"""Drawing: scenes as images, three times enlarged and then reduced, for smooth edges."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import cos, pi, sin
from random import Random

from PIL import Image, ImageDraw

from models.shapes.layout import SIDE, Placed
from models.shapes.scene import COLOURS, Scene

Points = list[tuple[float, float]]
Rgb = tuple[int, int, int]

_FINE = 3
_TINT = 7
"""The maximal deviation of an image's colours from the named ones, per channel."""
_STROKE = 3
"""Pixels of an outline."""


def draw(
    scene: Scene, placed: Iterable[Placed], random: Random, *, outline: bool = False
) -> Image.Image:
    """The scene as an RGB image; `outline` leaves its objects empty inside."""
    ground = _tinted(scene.ground, random)
    image = Image.new("RGB", (SIDE * _FINE, SIDE * _FINE), ground)
    pen = ImageDraw.Draw(image)
    colours = [_tinted(group.colour, random) for group in scene.groups]
    objects = [
        (group.shape, colour)
        for group, colour in zip(scene.groups, colours, strict=True)
        for _ in range(group.count)
    ]
    drawn = _outline if outline else filled
    for (shape, colour), at in zip(objects, placed, strict=True):
        drawn(pen, shape, at, colour, ground)
    return image.reduce(_FINE)


def filled(pen: ImageDraw.ImageDraw, shape: str, at: Placed, colour: Rgb, ground: Rgb) -> None:
    pen.polygon(_contour(shape, at, at.width), fill=colour)
    if shape == "ring":
        pen.polygon(_contour(shape, at, at.width * RING), fill=ground)


def _outline(pen: ImageDraw.ImageDraw, shape: str, at: Placed, colour: Rgb, ground: Rgb) -> None:
    for width in (at.width, at.width * RING) if shape == "ring" else (at.width,):
        contour = _contour(shape, at, width)
        pen.polygon(contour, fill=ground, outline=colour, width=_STROKE * _FINE)


def _contour(shape: str, at: Placed, width: float) -> Points:
    return [
        ((at.x + width / 2 * x) * _FINE, (at.y + width / 2 * y) * _FINE) for x, y in CONTOURS[shape]
    ]


def _tinted(colour: str, random: Random) -> Rgb:
    red, green, blue = (
        min(255, max(0, value + random.randint(-_TINT, _TINT))) for value in COLOURS[colour]
    )
    return red, green, blue


RING = 0.5
"""A ring's hole as part of its width."""


def _around(corners: int, radius: Callable[[int], float] = lambda _: 1.0) -> Points:
    """Points around the center, the first at the top."""
    angles = [2 * pi * n / corners for n in range(corners)]
    return [(radius(n) * sin(a), -radius(n) * cos(a)) for n, a in enumerate(angles)]


def _heart() -> Points:
    curve = [2 * pi * n / 60 for n in range(60)]
    return [
        (sin(t) ** 3, -(13 * cos(t) - 5 * cos(2 * t) - 2 * cos(3 * t) - cos(4 * t) + 2.5) / 16)
        for t in curve
    ]


def _cross() -> Points:
    quarter = [(-ARM, -1.0), (ARM, -1.0), (ARM, -ARM)]
    turns: list[Callable[[float, float], tuple[float, float]]] = [
        lambda x, y: (x, y),
        lambda x, y: (-y, x),
        lambda x, y: (-x, -y),
        lambda x, y: (y, -x),
    ]
    return [turn(x, y) for turn in turns for x, y in quarter]


ARM = 1 / 3
CONTOURS: dict[str, Points] = {
    "circle": _around(60),
    "ring": _around(60),
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "star": _around(10, lambda n: 0.47 if n % 2 else 1.05),
    "heart": _heart(),
    "cross": _cross(),
}
"""Each shape within a square from -1 to 1, y downwards."""
