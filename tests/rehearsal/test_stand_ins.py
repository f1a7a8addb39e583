from __future__ import annotations

import hashlib
import inspect
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from PIL import Image

from dw.rehearsal import Family, family_of, stand_in
from tests.rehearsal.conftest import folder_of

pytestmark = [
    pytest.mark.usefixtures("stand_ins"),
    # diffusers' Euler scheduler hands a tensor to numpy 2 in the old way
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

IMAGES = [
    family_of(f"{name}Pipeline", "") for name in ("StableDiffusion", "StableDiffusionXL", "Flux")
]
"""Families that many tests elsewhere see images of."""

every_family = pytest.mark.parametrize("family", IMAGES, ids=lambda family: family.name)
every_class = pytest.mark.parametrize(
    "class_name",
    [
        *(
            f"StableDiffusion{task}Pipeline"
            for task in ("Img2Img", "Inpaint", "PAG", "PAGImg2Img", "PAGInpaint")
        ),
        *(
            f"StableDiffusionXL{task}Pipeline"
            for task in ("Img2Img", "Inpaint", "PAG", "PAGImg2Img", "PAGInpaint")
        ),
        *(f"Flux{task}Pipeline" for task in ("Img2Img", "Inpaint", "Kontext", "KontextInpaint")),
    ],
)


def load(class_name: str, **arguments: Any) -> Any:
    pipeline = getattr(diffusers, class_name).from_pretrained(stand_in(class_name, ""), **arguments)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def draw(pipeline: Any, prompt: str = "a red cat", *, seed: int = 0, **arguments: Any) -> Any:
    """The pixels (h, w, rgb) of an image, 64x64 and in 2 steps unless `arguments` differ."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    defaults = {"width": 64, "height": 64, "num_inference_steps": 2}
    call = {key: value for key, value in defaults.items() if key in accepted} | arguments
    generator = torch.Generator().manual_seed(seed)
    return np.asarray(pipeline(prompt=prompt, generator=generator, **call).images[0], dtype=float)


def scene() -> Image.Image:
    """Light above, dark below."""
    pixels = np.full((64, 64, 3), 240, dtype=np.uint8)
    pixels[32:] = 30
    return Image.fromarray(pixels)


@every_family
def test_a_stand_in_is_smaller_than_5_mb(family: Family) -> None:
    files = [path for path in folder_of(family).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 5_000_000
    assert {path.suffix for path in files} == {".json", ".safetensors"}


@every_family
def test_every_making_gives_the_same_bytes(family: Family, fresh: Path) -> None:
    def digest(folder: Path) -> str:
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()

    first = folder_of(family)
    expected = digest(first)
    first.rename(fresh / "first")
    torch.manual_seed(5)
    assert digest(folder_of(family)) == expected


@every_family
def test_the_seams_are_those_of_the_real_models(family: Family) -> None:
    pipeline = load(family.pipeline)
    assert pipeline.vae_scale_factor == 8
    assert pipeline.vae.config.latent_channels == (16 if "flux" in family.name else 4)
    assert pipeline.tokenizer.model_max_length == 77
    assert getattr(pipeline, "safety_checker", None) is None


@every_family
@pytest.mark.parametrize("size", [64, 256, 512])
def test_an_image_is_not_one_flat_colour(family: Family, size: int) -> None:
    image = draw(load(family.pipeline), width=size, height=size)
    assert image.shape == (size, size, 3)
    assert image.std() > 25


@every_family
def test_another_prompt_or_seed_is_another_image(family: Family) -> None:
    pipeline = load(family.pipeline)
    image = draw(pipeline)
    assert np.array_equal(image, draw(pipeline))
    assert abs(image - draw(pipeline, "a blue house on a hill")).mean() > 2
    assert abs(image - draw(pipeline, seed=1)).mean() > 25


@every_family
@pytest.mark.filterwarnings("ignore:.*upcast_vae:FutureWarning")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_draws_nearly_the_same(family: Family, dtype: torch.dtype) -> None:
    images = [draw(load(family.pipeline, dtype=kind)) for kind in (torch.float32, dtype)]
    assert abs(images[0] - images[1]).mean() < 5


@every_class
def test_every_class_of_a_family_runs_on_its_stand_in(class_name: str) -> None:
    pipeline = load(class_name)
    accepted = inspect.signature(type(pipeline).__call__).parameters
    offered = {
        "image": scene(),
        "mask_image": Image.new("L", (64, 64), 255),
        "num_inference_steps": 4,
        "max_area": 64 * 64,
        "_auto_resize": False,
    }
    call = {key: value for key, value in offered.items() if key in accepted}
    assert draw(pipeline, **call).shape == (64, 64, 3)


@every_family
def test_image_to_image_shows_what_went_in(family: Family) -> None:
    class_name = family.pipeline.replace("Pipeline", "Img2ImgPipeline")
    image = draw(load(class_name), image=scene(), strength=0.25, num_inference_steps=8)
    above, below = image[:28].mean((0, 1)), image[36:].mean((0, 1))
    assert abs(above - below).max() > 50


def test_making_disturbs_nothing_and_says_nothing(
    fresh: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from transformers.utils import logging

    def state() -> Any:
        numbers = (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1])
        quiet = (logging.get_verbosity(), logging.is_progress_bar_enabled())
        return torch.get_default_dtype(), quiet, repr(numbers)

    torch.set_default_dtype(torch.bfloat16)
    try:
        before = state()
        folder = folder_of(IMAGES[0])
        assert state() == before
    finally:
        torch.set_default_dtype(torch.float32)
    assert capfd.readouterr() == ("", "")
    assert load(IMAGES[0].pipeline).unet.dtype == torch.float32
    assert folder.is_relative_to(fresh)


@every_family
def test_any_prompt_can_be_drawn(family: Family) -> None:
    assert draw(load(family.pipeline), "ünïcode 日本 🎨 " * 40).std() > 25


def test_a_prompt_of_140_characters_counts_to_its_end() -> None:
    prompt = "a photograph of an astronaut on a horse on the moon, " * 3
    tokens = load("StableDiffusionPipeline").tokenizer(prompt[:140])["input_ids"]
    assert len(tokens) <= 77


def test_a_stand_in_that_is_there_is_found_without_torch(stand_ins: Path) -> None:
    folder = folder_of(IMAGES[0])
    code = (
        "import sys; from pathlib import Path; from dw.rehearsal import stand_in, store;"
        f"store.cache_dir = lambda: Path({str(stand_ins.parent)!r});"
        "print(stand_in('StableDiffusionPipeline', ''), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{folder} False"


def test_a_dotted_name_has_the_same_stand_in() -> None:
    assert stand_in("diffusers.FluxPipeline", "a/b") == stand_in("FluxPipeline", "c/d")
    assert family_of("FluxPipeline", "").title == "FLUX.1 dev"
