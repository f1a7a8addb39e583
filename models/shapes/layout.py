"""Layout: objects of a scene in a row, a column or a triangle, in the part of the image that the
scene names.

All edges lie on a grid of 8 pixels, two cells of a latent, so that an object looks the same to a
convolution at every position.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

SIDE = 128
"""Pixels of an image, each way."""
_MARGIN = 4
_GAP = 8
_GRID = 8
_NEAR = (32, 40)
"""The range of the center of objects at the left (or the top), in pixels from that edge."""
_ANYWHERE = 16
"""The maximal distance from the image's center if the prompt names no position. In the whole image,
few pixels would depend on the prompt, and it would be learnt late."""


@dataclass(frozen=True, slots=True)
class Placed:
    """The center and the width of an object, in pixels."""

    x: float
    y: float
    width: float


def place(widths: list[int], position: str | None, random: Random) -> list[Placed]:
    """The objects in reading order, without overlap; none if they do not fit."""
    layouts = [_row(widths), _column(widths)] if len(widths) > 1 else [_row(widths)]
    if len(widths) == 3:
        layouts.append(_triangle(widths))
    random.shuffle(layouts)
    for layout in layouts:
        spans = _spans(layout, position)
        if all(low <= high for low, high in spans):
            x, y = (random.randrange(low, high + 1, _GRID) for low, high in spans)
            return [Placed(p.x + x, p.y + y, p.width) for p in layout]
    return []


def extent(layout: list[Placed]) -> tuple[float, float]:
    """The width and the height of all objects together."""
    return (
        max(p.x + p.width / 2 for p in layout) - min(p.x - p.width / 2 for p in layout),
        max(p.y + p.width / 2 for p in layout) - min(p.y - p.width / 2 for p in layout),
    )


def _spans(layout: list[Placed], position: str | None) -> list[tuple[int, int]]:
    """For x and y, the range of the center of a layout, on the grid."""
    spans = []
    for size, ends in zip(extent(layout), (("left", "right"), ("top", "bottom")), strict=True):
        near, far = _NEAR
        if position == ends[1]:
            near, far = SIDE - far, SIDE - near
        elif position != ends[0]:
            off = 0 if position == "center" else _ANYWHERE
            near, far = SIDE // 2 - off, SIDE // 2 + off
        edge = _MARGIN + round(size / 2)
        spans.append((max(near, edge), min(far, SIDE - edge)))
    return spans


def _row(widths: list[int]) -> list[Placed]:
    """Around (0, 0), as all layouts."""
    left, row = -(sum(widths) + _GAP * (len(widths) - 1)) / 2, []
    for width in widths:
        row.append(Placed(left + width / 2, 0, width))
        left += width + _GAP
    return row


def _column(widths: list[int]) -> list[Placed]:
    return [Placed(p.y, p.x, p.width) for p in _row(widths)]


def _triangle(widths: list[int]) -> list[Placed]:
    """Two above one."""
    upper, lower = _row(widths[:2]), Placed(0, 0, widths[2])
    height = max(widths[:2]) + _GAP + lower.width
    top, bottom = (max(widths[:2]) - height) / 2, (height - lower.width) / 2
    return [*(Placed(p.x, top, p.width) for p in upper), Placed(0, bottom, lower.width)]
