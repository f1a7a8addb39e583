from __future__ import annotations

from random import Random

import pytest
from transformers import CLIPTokenizer

from models.shapes.phrases import phrase, plain, vocabulary
from models.shapes.scene import MOST, Group, Scene, random_scene
from models.shapes.tokens import LENGTH, new_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> CLIPTokenizer:
    return new_tokenizer()


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        (Scene((Group(1, "medium", "red", "circle"),), "blue"), "a red circle on blue"),
        (Scene((Group(1, "medium", "orange", "star"),), "red"), "an orange star on red"),
        (Scene((Group(3, "large", "red", "cross"),), "blue"), "three large red crosses on blue"),
        (
            Scene(
                (Group(2, "small", "green", "square"), Group(1, "large", "yellow", "star")),
                "white",
                "left",
            ),
            "two small green squares and a large yellow star on white, left",
        ),
    ],
)
def test_a_scene_in_plain_words(scene: Scene, words: str) -> None:
    assert plain(scene) == words


def test_every_word_is_one_token(tokenizer: CLIPTokenizer) -> None:
    assert [tokenizer.tokenize(word) for word in vocabulary()] == [
        [f"{word}</w>"] for word in vocabulary()
    ]


def test_every_phrase_of_known_words_fits_into_a_prompt(tokenizer: CLIPTokenizer) -> None:
    random = Random(1)
    texts = [phrase(random_scene(random)[0], random) for _ in range(1000)]
    known = [text for text in texts if set(text.replace(",", " ,").split()) <= {*vocabulary()}]
    assert len(known) > 900
    assert max(len(ids) for ids in tokenizer(known).input_ids) <= LENGTH


def test_a_word_that_nobody_knows_becomes_letters(tokenizer: CLIPTokenizer) -> None:
    assert len(tokenizer.tokenize("a zigzag")) == 1 + len("zigzag")


def test_held_out_scenes_are_other_scenes() -> None:
    random = Random(1)
    learnt, kept = (
        {random_scene(random, held_out=held_out)[0] for _ in range(300)}
        for held_out in (False, True)
    )
    assert not learnt & kept
    assert all(sum(group.count for group in scene.groups) <= MOST for scene in learnt | kept)
