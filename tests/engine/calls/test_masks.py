"""Masks: what masks nothing is told, and what is unambiguous is read as it is meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dw.rehearsal import stand_in
from tests.engine.session import Json, Session, text_to_image

ALPHA = "the mask is drawn in its alpha channel, its colours are all the same"
BLACK = "the mask is black everywhere, so that nothing is painted anew"


def half(white: int = 255) -> np.ndarray:
    """The right half of 64x64."""
    mask = np.zeros((64, 64), np.uint8)
    mask[:, 32:] = white
    return mask


def in_alpha(colour: int) -> Image.Image:
    colours = np.full((64, 64, 3), colour, np.uint8)
    return Image.fromarray(np.dstack([colours, half()]))


@pytest.fixture
def inpaint(warm: Session, stand_ins: Path) -> Callable[[Image.Image], Json]:
    """An inpainting with this mask in a file."""
    model = stand_in("StableDiffusionInpaintPipeline", "a/sd-inpainting")
    Image.linear_gradient("L").resize((64, 64)).convert("RGB").save(warm.folder / "cat.png")

    def make(mask: Image.Image) -> Json:
        mask.save(warm.folder / "mask.png")
        return text_to_image(
            model,
            configuration={"component_type": "StableDiffusionInpaintPipeline"},
            arguments={"image": "cat.png", "mask_image": {"location": "mask.png"}, "strength": 1.0},
        )

    return make


def grey_and_alpha() -> Image.Image:
    return Image.merge("LA", (Image.new("L", (64, 64), 255), Image.fromarray(half())))


def painted_on_nothing() -> Image.Image:
    """White strokes on transparent black: colours and alpha agree."""
    white = np.dstack([half()] * 4)
    return Image.fromarray(white)


@pytest.mark.parametrize(
    "mask", [in_alpha(0), in_alpha(255), grey_and_alpha()], ids=["black", "white", "grey"]
)
def test_a_mask_in_the_alpha_channel_is_refused_before_the_load(
    warm: Session, inpaint: Callable[[Image.Image], Json], mask: Image.Image
) -> None:
    document = inpaint(mask)
    failure = warm.fail(document)
    assert ALPHA in failure.message
    assert "'mask.png'" in failure.message
    [problem] = [
        each
        for each in warm.engine.check_models(warm.document(document))
        if each.severity == "error"
    ]
    assert ALPHA in problem.message
    assert warm.document(document).text.splitlines()[problem.line - 1].endswith('"mask.png"')


@pytest.mark.parametrize(
    "mask",
    [
        Image.fromarray(half()).convert("RGB"),
        Image.fromarray(half()).convert("1"),
        Image.fromarray(half(1)),
        Image.fromarray(half(1)).convert("RGB"),
        painted_on_nothing(),
        Image.fromarray(half().astype(np.uint16) * 257),
    ],
    ids=["RGB", "one bit", "0 and 1", "0 and 1 as RGB", "on nothing", "16 bits"],
)
def test_masks_of_one_meaning_give_one_image(
    warm: Session, inpaint: Callable[[Image.Image], Json], mask: Image.Image
) -> None:
    usual = warm.hashes(inpaint(Image.fromarray(half())))
    assert warm.hashes(inpaint(mask)) == usual
    assert warm.hashes(inpaint(Image.new("L", (64, 64), 255))) != usual


def test_a_black_mask_is_a_warning(warm: Session, inpaint: Callable[[Image.Image], Json]) -> None:
    document = inpaint(Image.new("L", (64, 64)))
    warm.run(document)
    assert [each for each in warm.warnings if BLACK in each]
    found = warm.engine.check_models(warm.document(document))
    assert [each.severity for each in found if BLACK in each.message] == ["warning"]


def test_a_black_mask_of_an_earlier_step_is_a_warning(
    warm: Session, inpaint: Callable[[Image.Image], Json]
) -> None:
    document = inpaint(Image.new("L", (64, 64)))
    arguments = {"image": "mask.png", "width": 64, "height": 64}
    resized = {"name": "m", "task": {"command": "resize_center_crop", "arguments": arguments}}
    document["steps"][0]["pipeline"]["arguments"]["mask_image"] = "previous_result:m"
    document["steps"].insert(0, resized)
    warm.run(document)
    assert [each for each in warm.warnings if BLACK in each]


def test_a_mask_of_other_proportions_is_a_warning(
    warm: Session, inpaint: Callable[[Image.Image], Json]
) -> None:
    warm.run(inpaint(Image.fromarray(half()).resize((128, 96))))
    assert "'mask_image' is 128x96, the image 64x64: it is stretched over it" in warm.warnings
    warm.run(inpaint(Image.fromarray(half()).resize((128, 128))))
    assert not [each for each in warm.warnings if "stretched" in each]
