"""Where objects stand: on a grid, within the image, apart from each other."""

from __future__ import annotations

from itertools import combinations, product
from random import Random

import pytest

from models.shapes.layout import SIDE, Placed, place
from models.shapes.scene import POSITIONS, SIZES

GRID, MARGIN, GAP = 8, 4, 8
ROWS = [widths for count in (1, 2, 3) for widths in product(SIZES.values(), repeat=count)]


def apart(one: Placed, other: Placed) -> float:
    """Pixels between two objects, along the axis on which they are further apart."""
    between = max(abs(one.x - other.x), abs(one.y - other.y))
    return between - (one.width + other.width) / 2


@pytest.mark.parametrize("widths", ROWS, ids=str)
def test_objects_lie_on_the_grid_within_the_image_and_apart(widths: tuple[int, ...]) -> None:
    for seed, position in product(range(8), (None, *POSITIONS)):
        placed = place([*widths], position, Random(seed))
        assert len(placed) in (0, len(widths))  # none where they do not fit at that side
        for each in placed:
            for middle in (each.x, each.y):
                low, high = middle - each.width / 2, middle + each.width / 2
                assert low % GRID == high % GRID == MARGIN
                assert low >= MARGIN
                assert high <= SIDE - MARGIN
        assert all(apart(*pair) >= GAP for pair in combinations(placed, 2))


@pytest.mark.parametrize("widths", ROWS, ids=str)
def test_all_objects_of_a_scene_fit_somewhere(widths: tuple[int, ...]) -> None:
    assert len(place([*widths], None, Random(1))) == len(widths)


def test_other_seeds_give_other_places() -> None:
    places = {tuple(place([24], None, Random(seed))) for seed in range(60)}
    assert len(places) > 10
