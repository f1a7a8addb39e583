"""Scenes: the content of a prompt, and random ones."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from random import Random

from models.shapes.layout import Placed, place

COLOURS = {
    "red": (220, 40, 45),
    "orange": (245, 135, 35),
    "yellow": (250, 215, 60),
    "green": (50, 160, 80),
    "blue": (45, 95, 215),
    "purple": (130, 60, 175),
    "white": (248, 248, 248),
    "black": (28, 28, 28),
}
SHAPES = ("circle", "square", "triangle", "star", "heart", "ring", "cross")
SIZES = {"small": 24, "medium": 40, "large": 56}
"""Widths in pixels of an image of 128x128: odd multiples of the grid, so that centered objects have
their edges on the grid."""
POSITIONS = ("left", "right", "top", "bottom", "center")
MOST = 3
"""The maximal number of objects."""

_HELD_OUT = 25


@dataclass(frozen=True, slots=True)
class Group:
    """Objects that look alike."""

    count: int
    size: str
    colour: str
    shape: str


@dataclass(frozen=True, slots=True)
class Scene:
    groups: tuple[Group, ...]
    ground: str
    position: str | None = None

    @property
    def is_held_out(self) -> bool:
        """One scene in 25 is never trained on, whatever its words."""
        return zlib.crc32(repr(self).encode()) % _HELD_OUT == 0


def random_scene(random: Random, *, held_out: bool = False) -> tuple[Scene, list[Placed]]:
    """A scene that fits into the image, and the places of its objects: earlier groups are left of
    or above later ones."""
    while True:
        scene = _any_scene(random)
        if scene.is_held_out == held_out and (placed := arrange(scene, random)):
            return scene, placed


def arrange(scene: Scene, random: Random) -> list[Placed]:
    """Places for the objects of a scene, in the order of its groups; none if they do not fit."""
    widths = [SIZES[group.size] for group in scene.groups for _ in range(group.count)]
    return place(widths, scene.position, random)


def _any_scene(random: Random) -> Scene:
    counts = random.choice([(1,), (1,), (2,), (3,), (1, 1), (1, 2), (2, 1)])
    ground, *colours = random.sample(list(COLOURS), 1 + len(counts))
    groups = tuple(
        Group(count, random.choice(list(SIZES)), colour, random.choice(SHAPES))
        for count, colour in zip(counts, colours, strict=True)
    )
    position = random.choice(POSITIONS) if random.random() < 0.6 else None
    return Scene(groups, ground, position)
