"""The model that comes with dw draws what it is asked for, and loads wherever diffusers does."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from PIL import Image

from dw.workflow.builtin import MODELS
from models.shapes.card import weight
from models.shapes.evaluation import GOALS, Score, held_out_scenes, images, scores
from models.shapes.judge import see, verdict
from models.shapes.phrases import plain
from models.shapes.scene import Group, Scene

SHAPES, OUTLINE = MODELS / "shapes", MODELS / "shapes-outline"
CIRCLE = Scene((Group(1, "large", "red", "circle"),), "blue")

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def pipeline() -> Iterator[StableDiffusionPipeline]:
    loaded = StableDiffusionPipeline.from_pretrained(SHAPES)
    loaded.set_progress_bar_config(disable=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more wait for each other where other tests run
    yield loaded
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=[20, pytest.param(100, marks=pytest.mark.long)])
def found(pipeline: StableDiffusionPipeline, request: pytest.FixtureRequest) -> dict[str, Score]:
    """Of so many prompts."""
    return scores(pipeline, held_out_scenes(request.param), seed=1)


def draw(pipeline: StableDiffusionPipeline, scene: Scene, *, seeds: range) -> list[Image.Image]:
    """One image for each seed."""
    return list(images(pipeline, [plain(scene)] * len(seeds), seeds.start))


@pytest.mark.parametrize("criterion", GOALS)
def test_prompts_that_it_never_saw_are_drawn(found: dict[str, Score], criterion: str) -> None:
    assert found[criterion].part >= GOALS[criterion], found


def test_the_card_says_what_is_found_here(found: dict[str, Score]) -> None:
    card = (SHAPES / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| (\d+) of (\d+) \|", card, re.MULTILINE)
    said = {name: int(right) / int(asked) for name, right, asked in rows}
    assert said.keys() == found.keys()
    for name, score in found.items():  # another processor may round one of them otherwise
        assert abs(round(said[name] * score.asked) - score.right) <= 2, name


def test_other_seeds_draw_other_images_of_the_same(pipeline: StableDiffusionPipeline) -> None:
    drawn = draw(pipeline, CIRCLE, seeds=range(1, 7))
    assert len({image.tobytes() for image in drawn}) == len(drawn)
    verdicts = [verdict(CIRCLE, see(image)) for image in drawn]
    assert all(right["ground"] for right in verdicts)
    assert sum(right["colour"] for right in verdicts) >= 4


DRAW = f"""
import hashlib, torch
from diffusers import StableDiffusionPipeline
torch.set_num_threads(1)
pipeline = StableDiffusionPipeline.from_pretrained({str(SHAPES)!r})
image = pipeline(
    "a red circle on blue", num_inference_steps=4, generator=torch.Generator().manual_seed(3)
).images[0]
print(hashlib.sha256(image.tobytes()).hexdigest())
"""


def test_the_same_seed_draws_the_same_bytes_in_another_process(
    pipeline: StableDiffusionPipeline,
) -> None:
    other = subprocess.run(
        [sys.executable, "-c", DRAW], capture_output=True, text=True, check=True, timeout=120
    )
    (image,) = pipeline(
        "a red circle on blue", num_inference_steps=4, generator=torch.Generator().manual_seed(3)
    ).images
    assert other.stdout.strip() == hashlib.sha256(image.tobytes()).hexdigest()


def test_the_folder_is_one_that_diffusers_knows() -> None:
    found = DiffusionPipeline.from_pretrained(SHAPES)
    assert type(found) is StableDiffusionPipeline
    kinds = {type(part).__module__.split(".")[0] for part in found.components.values() if part}
    assert kinds == {"diffusers", "transformers"}
    assert {part.dtype for part in (found.unet, found.vae, found.text_encoder)} == {torch.float32}


def test_all_of_it_is_small_and_holds_no_pickle() -> None:
    assert weight(SHAPES) + weight(OUTLINE) < 6e6
    assert weight(OUTLINE) < 200e3
    suffixes = {path.suffix for path in MODELS.rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md", ".png"}


def test_the_adapter_changes_the_image_by_its_scale(pipeline: StableDiffusionPipeline) -> None:
    (before,) = draw(pipeline, CIRCLE, seeds=range(1, 2))
    pipeline.load_lora_weights(OUTLINE, adapter_name="outline")
    drawn = {}
    for scale in (0.0, 0.5, 1.0):
        pipeline.set_adapters("outline", scale)
        drawn[scale] = draw(pipeline, CIRCLE, seeds=range(1, 2))[0].tobytes()
    pipeline.unload_lora_weights()
    assert drawn[0.0] == before.tobytes()
    assert len(set(drawn.values())) == 3


def test_the_adapter_leaves_the_inside_of_an_object_unpainted(
    pipeline: StableDiffusionPipeline,
) -> None:
    def painted() -> int:
        drawn = draw(pipeline, CIRCLE, seeds=range(1, 3))
        return sum(int((np.asarray(image)[..., 0] > 128).sum()) for image in drawn)

    filled = painted()  # red pixels on blue
    pipeline.load_lora_weights(OUTLINE, adapter_name="outline")
    outlined = painted()
    pipeline.unload_lora_weights()
    assert 0 < outlined < 0.6 * filled
