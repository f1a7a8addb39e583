"""The plot of the losses of a training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log10
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

_WIDTH, _HEIGHT, _MARGIN = 640, 220, 44
_WINDOW = 0.02
"""The share of all steps over which a point of a curve is averaged."""
_PAPER, _AXIS, _GRID, _CURVE = "white", "#444444", "#dddddd", "#2d5fd7"


def plot(curves: Mapping[str, Sequence[float]], path: Path) -> None:
    """One panel for each curve, the loss on a logarithmic axis over the steps."""
    image = Image.new("RGB", (_WIDTH, _HEIGHT * len(curves)), _PAPER)
    pen = ImageDraw.Draw(image)
    for index, (name, losses) in enumerate(curves.items()):
        _panel(pen, index * _HEIGHT, name, _smoothed(losses))
    image.save(path)


def _panel(pen: ImageDraw.ImageDraw, top: int, name: str, losses: Sequence[float]) -> None:
    font = ImageFont.load_default(12)
    left, right = _MARGIN, _WIDTH - 12
    upper, lower = top + 26, top + _HEIGHT - 28
    low, high = min(losses) * 0.95, max(losses) * 1.05

    def y(value: float) -> float:
        return lower - (lower - upper) * log10(value / low) / log10(high / low)

    for value in _ticks(low, high):
        pen.line([(left, y(value)), (right, y(value))], _GRID)
        pen.text((left - 6, y(value)), f"{value:g}", _AXIS, font, anchor="rm")
    last = max(1, len(losses) - 1)
    points = [(left + (right - left) * i / last, y(value)) for i, value in enumerate(losses)]
    pen.line(points, _CURVE, width=2)
    pen.line([(left, upper), (left, lower), (right, lower)], _AXIS)
    pen.text((left, top + 8), f"loss of the {name}", _AXIS, font)
    pen.text((right, lower + 6), f"{len(losses)} steps", _AXIS, font, anchor="ra")


def _smoothed(losses: Sequence[float]) -> list[float]:
    window = max(1, round(len(losses) * _WINDOW))
    return [
        sum(part) / len(part)
        for part in (losses[max(0, at - window) : at + 1] for at in range(len(losses)))
    ]


def _ticks(low: float, high: float) -> list[float]:
    powers = range(floor(log10(low)), floor(log10(high)) + 1)
    return [v for p in powers for d in (1, 2, 5) if low <= (v := d * 10.0**p) <= high]
