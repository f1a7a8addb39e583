"""The judge of images, on images whose content is known."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from PIL import Image

from models.shapes.drawing import draw
from models.shapes.judge import CRITERIA, see, verdict
from models.shapes.scene import COLOURS, SHAPES, SIZES, Group, Scene, arrange, random_scene

RED = Group(1, "large", "red", "circle")
SCENE = Scene((RED,), "blue", "left")


def drawn(scene: Scene, *, outline: bool = False) -> Image.Image:
    random = Random(4)
    return draw(scene, arrange(scene, random), random, outline=outline)


def test_every_scene_is_judged_right() -> None:
    random = Random(1)
    for _ in range(100):
        scene, placed = random_scene(random)
        assert all(verdict(scene, see(draw(scene, placed, random))).values()), scene


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", SIZES)
def test_a_shape_is_seen_for_what_it_is(shape: str, size: str) -> None:
    for colour, ground in zip(COLOURS, [*COLOURS][1:], strict=False):
        scene = Scene((Group(2, size, colour, shape),), ground)
        seen = see(drawn(scene))
        assert {(o.colour, o.shape, o.size) for o in seen.objects} == {(colour, shape, size)}
        assert seen.ground == ground


@pytest.mark.parametrize(
    ("asked", "wrong"),
    [
        (replace(SCENE, groups=(replace(RED, shape="star"),)), {"shape"}),
        (replace(SCENE, groups=(replace(RED, size="small"),)), {"size"}),
        (replace(SCENE, groups=(replace(RED, count=2),)), {"number"}),
        (replace(SCENE, ground="green"), {"ground"}),
        (replace(SCENE, position="right"), {"position"}),
        (replace(SCENE, position="center"), {"position"}),
        (
            replace(SCENE, groups=(replace(RED, colour="green"),)),
            {"colour", "shape", "size", "number"},
        ),
        (
            replace(SCENE, groups=(RED, Group(1, "small", "white", "star"))),
            {"colour", "shape", "size", "number"},
        ),
    ],
)
def test_what_was_not_drawn_as_asked_is_noticed(asked: Scene, wrong: set[str]) -> None:
    found = verdict(asked, see(drawn(SCENE)))
    assert {criterion for criterion, is_right in found.items() if not is_right} == wrong


def test_a_position_is_judged_where_one_is_asked_for() -> None:
    assert set(verdict(SCENE, see(drawn(SCENE)))) == set(CRITERIA)
    anywhere = replace(SCENE, position=None)
    assert set(verdict(anywhere, see(drawn(SCENE)))) == {*CRITERIA} - {"position"}


def test_an_empty_image_is_not_a_scene() -> None:
    found = verdict(SCENE, see(Image.new("RGB", (128, 128), COLOURS["blue"])))
    assert [criterion for criterion, is_right in found.items() if is_right] == ["ground"]


@pytest.mark.parametrize("shape", SHAPES)
def test_an_outline_encloses_what_it_does_not_paint(shape: str) -> None:
    scene = Scene((Group(1, "large", "red", shape),), "white")
    filled, line = (min(o.fill for o in see(drawn(scene, outline=o)).objects) for o in (0, 1))
    assert line < 0.6 < filled
