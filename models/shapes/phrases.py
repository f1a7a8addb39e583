"""Phrases: prompts of scenes, in many wordings."""

from __future__ import annotations

from random import Random

from models.shapes.scene import COLOURS, SHAPES, Group, Scene

NUMBERS = {1: ("a", "a", "one", ""), 2: ("two", "2"), 3: ("three", "3")}
SIZES = {"small": ("small", "small", "little"), "medium": ("",), "large": ("large", "large", "big")}
POSITIONS = {
    "left": ("left", "on the left", "at the left"),
    "right": ("right", "on the right", "at the right"),
    "top": ("top", "at the top", "on top"),
    "bottom": ("bottom", "at the bottom"),
    "center": ("center", "in the center", "in the middle"),
}
GROUNDS = ("{}", "a {} ground", "a {} background", "{} background")
FRAMES = (
    "{groups} on {ground}{place}",
    "{groups} on {ground}{place}",
    "a picture of {groups} on {ground}{place}",
    "draw {groups} on {ground}{place}",
    "{groups}{place}, on {ground}",
    "{groups}{place}, {ground}",
)
_ODD = 0.06
"""The share of prompts with a random word, so that unknown words do little harm."""


def phrase(scene: Scene, random: Random) -> str:
    """A random wording of a scene."""
    groups = " and ".join(_group(group, random) for group in scene.groups)
    place = f", {random.choice(POSITIONS[scene.position])}" if scene.position else ""
    ground = random.choice(GROUNDS).format(scene.ground)
    words = random.choice(FRAMES).format(groups=groups, ground=ground, place=place)
    if place and random.random() < 0.3:
        words = words.replace(place, place[1:])
    return _with_odd_word(words, random) if random.random() < _ODD else words


def plain(scene: Scene) -> str:
    """The wording of the model card and the tests: `two small red circles on blue, left`."""
    groups = " and ".join(_plain_group(group) for group in scene.groups)
    return f"{groups} on {scene.ground}" + (f", {scene.position}" if scene.position else "")


def vocabulary() -> list[str]:
    """Every word and mark of the phrases."""
    named = [*COLOURS, *SHAPES, *map(_plural, SHAPES), "an", "and", ","]
    choices = [*NUMBERS.values(), *SIZES.values(), *POSITIONS.values(), GROUNDS, FRAMES]
    texts = [text for texts in choices for text in texts]
    plain_texts = [
        word for text in texts for word in text.replace(",", " ").split() if "{" not in word
    ]
    return sorted({*named, *plain_texts})


def _group(group: Group, random: Random) -> str:
    number = random.choice(NUMBERS[group.count])
    return _joined(number, random.choice(SIZES[group.size]), group)


def _plain_group(group: Group) -> str:
    return _joined(NUMBERS[group.count][0], SIZES[group.size][0], group)


def _joined(number: str, size: str, group: Group) -> str:
    shape = group.shape if group.count == 1 else _plural(group.shape)
    words = [word for word in (number, size, group.colour, shape) if word]
    if words[0] == "a" and words[1][0] in "aeiou":
        words[0] = "an"
    return " ".join(words)


def _plural(shape: str) -> str:
    return f"{shape}es" if shape.endswith("s") else f"{shape}s"


def _with_odd_word(text: str, random: Random) -> str:
    letters = "abcdefghijklmnopqrstuvwxyz"
    odd = "".join(random.choices(letters, k=random.randint(2, 6)))
    words = text.split(" ")
    words.insert(random.randint(0, len(words)), odd)
    return " ".join(words)
