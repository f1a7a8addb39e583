"""Every published model has a stand-in that its pipeline runs on."""

from __future__ import annotations

import inspect
import time
from importlib.util import find_spec
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import ModularPipeline
from PIL import Image

from dw.errors import WorkflowError
from dw.rehearsal import FAMILIES, Family, family_of
from dw.rehearsal.published_models import NEEDS, REFUSED
from tests.rehearsal.conftest import folder_of

pytestmark = [
    pytest.mark.usefixtures("stand_ins"),
    # diffusers' own: with numpy 2, and of what it will give up
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
    pytest.mark.filterwarnings("ignore:In CPU autocast:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning"),
]

SIDE, FRAMES = 64, 9
IMAGE = Image.linear_gradient("L").resize((SIDE, SIDE)).convert("RGB")
OFFERED = {
    "prompt": "a red cat",
    "num_inference_steps": 4,
    "height": SIDE,
    "width": SIDE,
    "num_frames": FRAMES,
    "image": IMAGE,
    "mask_image": Image.new("L", (SIDE, SIDE), 255),
    "control_image": IMAGE,
    "processing_resolution": SIDE,
    "use_resolution_binning": False,
    "audio_end_in_s": 0.5,
    "decode_chunk_size": 2,
}
EMBEDS = {"image_embeds": torch.zeros(1, 32), "negative_image_embeds": torch.zeros(1, 32)}
TWO_STEPS = (
    "Sana Sprint",  # with another number it makes another kind of call
    "HiDream-I1",  # makes a whole megapixel, whatever is asked
    "Stable Audio Open",  # makes 47 seconds, and cuts them
)
TILED = ("Allegro",)  # its VAE decodes in tiles of 320 pixels only: smaller videos are grey

MODULAR = [f for f in FAMILIES if "Modular" in f.pipeline]
STANDARD = [f for f in FAMILIES if f not in MODULAR]


def is_refused(family: Family) -> bool:
    """Whether the family needs what is not installed, which its refusal names then."""
    needed = NEEDS.get(family.title)
    if needed is None or find_spec(needed) is not None:
        return False
    with pytest.raises(WorkflowError, match=f"needs the package '{needed}'") as caught:
        folder_of(family)
    assert str(caught.value).startswith(f"{family.pipeline} cannot be rehearsed")
    return True


def load(family: Family) -> Any:
    pipeline = getattr(diffusers, family.pipeline).from_pretrained(folder_of(family))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def run(pipeline: Any, **arguments: Any) -> Any:
    """What comes out, as an array."""
    accepted = inspect.signature(type(pipeline).__call__).parameters
    call = {name: value for name, value in OFFERED.items() if name in accepted} | arguments
    if "kandinsky" in type(pipeline).__name__.lower():
        call |= {name: value for name, value in EMBEDS.items() if name in accepted}
    torch.manual_seed(0)
    if "generator" in accepted:
        call["generator"] = torch.Generator().manual_seed(0)
    result = pipeline(**call)
    names = ("images", "frames", "audios", "prediction", "image_embeds", "prompt_embeds")
    found = next(getattr(result, name) for name in names if hasattr(result, name))
    first = found[0]
    return np.asarray(first if not isinstance(first, list) else np.stack(first), dtype=float)


@pytest.mark.parametrize("family", STANDARD, ids=lambda family: family.name)
def test_its_pipeline_runs(family: Family) -> None:
    if is_refused(family):
        return
    pipeline = load(family)
    if family.title in TILED:
        pipeline.vae.enable_tiling()
    result = run(pipeline, **({"num_inference_steps": 2} if family.title in TWO_STEPS else {}))
    assert np.isfinite(result).all()
    assert result.std() > 0 or family.title in TILED


@pytest.mark.parametrize(
    ("workflow", "arguments"), [("t2va", {}), ("fl2va", {"image": IMAGE, "last_image": IMAGE})]
)
def test_a_pipeline_that_has_blocks_alone_runs(workflow: str, arguments: dict[str, Any]) -> None:
    [family] = MODULAR
    if is_refused(family):
        return
    pipeline = ModularPipeline.from_pretrained(str(folder_of(family)), workflow=workflow)
    pipeline.load_components()
    call = {"prompt": "a red cat", "num_frames": 124, "num_inference_steps": 2, **arguments}
    result = pipeline(**call, width=SIDE, height=SIDE, output_type="np")
    assert np.shape(result.get("videos")) == (1, 124, SIDE, SIDE, 3)
    assert result.get("audio").shape == (1, 2, 124 * 32000 // 24 // 800 * 800 + 800)


@pytest.mark.parametrize("start", REFUSED)
def test_a_class_that_cannot_be_rehearsed_says_why(start: str) -> None:
    with pytest.raises(WorkflowError, match="cannot be rehearsed") as caught:
        family_of(f"{start}Pipeline", "some/model")
    assert REFUSED[start] in str(caught.value)


def test_a_stand_in_takes_less_than_a_second_to_make(fresh: object) -> None:
    folder_of(FAMILIES[0])  # with the imports
    begun = time.process_time()
    folder_of(family_of("FluxPipeline", ""))
    assert time.process_time() - begun < 1
