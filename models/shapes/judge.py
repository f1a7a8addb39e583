"""Judge: the ground and the objects in an image, by plain image analysis without a model."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from models.shapes.drawing import filled
from models.shapes.layout import SIDE, Placed
from models.shapes.scene import COLOURS, SHAPES, Scene

CRITERIA = ("colour", "shape", "ground", "size", "number", "position")

_APART = 45
"""Two colours further apart than this (in RGB) differ; the nearest two of the palette are 84."""
_SPECK = 50
"""Pixels; smaller parts are not objects. The smallest star has 243."""
_ALIKE = 0.7
"""The minimal intersection over union of an object with its shape."""
_SIZES = {"small": 32, "medium": 48, "large": 70}
"""Upper limits of widths, in pixels: halfway between the widths of scenes."""
_REACH = {"left": (0, 54), "right": (74, SIDE), "center": (52, 76)}
_GRID = 32

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Object:
    colour: str
    shape: str
    size: str
    box: tuple[int, int, int, int]  # left, top, right, bottom, in pixels
    fill: float  # painted share of the area in its contour


@dataclass(frozen=True, slots=True)
class Seen:
    ground: str
    objects: tuple[Object, ...]

    @property
    def middle(self) -> tuple[float, float]:
        """The center of all objects together, in pixels."""
        lefts, tops, rights, bottoms = zip(*(o.box for o in self.objects), strict=True)
        return (min(lefts) + max(rights)) / 2, (min(tops) + max(bottoms)) / 2


def see(image: Image.Image) -> Seen:
    """The ground and the objects of an image of 128x128 pixels."""
    pixels = np.asarray(image.convert("RGB"), dtype=float)
    frame = np.concatenate(
        [
            pixels[:3].reshape(-1, 3),
            pixels[-3:].reshape(-1, 3),
            pixels[:, :3].reshape(-1, 3),
            pixels[:, -3:].reshape(-1, 3),
        ]
    )
    ground = np.median(frame, axis=0)
    parts = _parts(np.linalg.norm(pixels - ground, axis=-1) > _APART)
    return Seen(_colour(ground), tuple(_object(pixels, part) for part in parts))


def verdict(scene: Scene, seen: Seen) -> dict[str, bool]:
    """For each criterion that the scene's prompt names, whether the image is right.

    Objects belong to the group of their colour, so an object of a wrong colour is wrong in all.
    """
    of_group = {g: [o for o in seen.objects if o.colour == g.colour] for g in scene.groups}
    right = {
        "colour": {o.colour for o in seen.objects} == {g.colour for g in scene.groups},
        "shape": all({o.shape for o in own} == {g.shape} for g, own in of_group.items()),
        "ground": seen.ground == scene.ground,
        "size": all({o.size for o in own} == {g.size} for g, own in of_group.items()),
        "number": all(len(own) == g.count for g, own in of_group.items()),
    }
    if scene.position is not None:
        right["position"] = bool(seen.objects) and _is_at(scene.position, *seen.middle)
    return right


def _is_at(position: str, x: float, y: float) -> bool:
    if position == "center":
        return all(_REACH["center"][0] <= at <= _REACH["center"][1] for at in (x, y))
    side = {"top": "left", "bottom": "right"}.get(position, position)
    low, high = _REACH[side]
    return low <= (x if side == position else y) <= high


def _object(pixels: NDArray[np.float64], part: Mask) -> Object:
    rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    inside = part[top:bottom, left:right]
    width = max(inside.shape)
    return Object(
        colour=_colour(np.median(pixels[part], axis=0)),
        shape=_shape(inside),
        size=next((name for name, limit in _SIZES.items() if width < limit), "huge"),
        box=(int(left), int(top), int(right), int(bottom)),
        fill=float(inside.sum() / _enclosed(inside).sum()),
    )


def _colour(rgb: NDArray[np.float64]) -> str:
    return min(COLOURS, key=lambda name: float(np.linalg.norm(rgb - COLOURS[name])))


def _shape(mask: Mask) -> str:
    """The shape with the highest intersection over union, or `unclear`."""
    seen = _on_grid(mask)
    alike = {
        name: float((seen & known).sum() / (seen | known).sum())
        for name, known in _templates().items()
    }
    best = max(alike, key=alike.__getitem__)
    return best if alike[best] >= _ALIKE else "unclear"


@cache
def _templates() -> dict[str, Mask]:
    templates = {}
    for name in SHAPES:
        image = Image.new("1", (3 * SIDE, 3 * SIDE))
        filled(ImageDraw.Draw(image), name, Placed(SIDE / 2, SIDE / 2, 100), 1, 0)
        templates[name] = _on_grid(np.asarray(image.crop(image.getbbox())))
    return templates


def _on_grid(mask: Mask) -> Mask:
    """A mask stretched to 32x32."""
    image = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (_GRID, _GRID), Image.Resampling.BOX
    )
    return np.asarray(image) > 127


def _parts(mask: Mask) -> list[Mask]:
    """The connected parts of a mask, without specks."""
    rest, parts = mask.copy(), []
    while rest.any():
        row, column = np.unravel_index(rest.argmax(), rest.shape)
        part = _flooded(rest, (int(row), int(column)))
        rest &= ~part
        if part.sum() >= _SPECK:
            parts.append(part)
    return parts


def _enclosed(mask: Mask) -> Mask:
    """A mask without its holes."""
    outside = np.pad(~mask, 1, constant_values=True)
    return ~_flooded(outside, (0, 0))[1:-1, 1:-1]


def _flooded(mask: Mask, start: tuple[int, int]) -> Mask:
    """The part of a mask that is connected with `start`, over edges."""
    found = np.zeros_like(mask)
    found[start] = True
    size = 0
    while size < (size := int(found.sum())):
        found[1:] |= found[:-1]
        found[:-1] |= found[1:]
        found &= mask
        found[:, 1:] |= found[:, :-1]
        found[:, :-1] |= found[:, 1:]
        found &= mask
    return found
