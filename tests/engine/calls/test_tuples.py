"""Arguments that pipelines take as tuples, which JSON does not have."""

from __future__ import annotations

from pathlib import Path

import diffusers
import pytest
import torch
from PIL import Image

from dw.engine.python.annotations import takes_tuple
from dw.engine.python.signatures import call_parameters
from tests.engine.session import Json, Session, text_to_image

# What torch 2.13 gives numpy 2.4, in the scheduler.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SIZES: Json = {
    "original_size": [48, 96],
    "target_size": [64, 64],
    "crops_coords_top_left": [0, 16],
    "negative_original_size": [32, 32],
    "negative_target_size": [64, 64],
    "negative_crops_coords_top_left": [8, 0],
}


@pytest.mark.parametrize(
    "names", [["crops_coords_top_left"], ["original_size"], [*SIZES]], ids=["corner", "size", "all"]
)
@pytest.mark.parametrize("cls", ["StableDiffusionXLPipeline", "ModularPipeline"])
def test_lists_draw_what_tuples_draw(warm: Session, sdxl: Path, cls: str, names: list[str]) -> None:
    given = {name: SIZES[name] for name in names}
    changes: Json = {"configuration": {"component_type": cls}, "arguments": given}
    (output,) = warm.run(text_to_image(sdxl, **changes)).outputs
    right = alone(cls, sdxl, {name: tuple(value) for name, value in given.items()})
    with Image.open(output.path) as image:
        assert image.tobytes() == right.tobytes()


def alone(cls: str, model: Path, arguments: Json) -> Image.Image:
    pipeline = getattr(diffusers, cls).from_pretrained(str(model))
    if cls == "ModularPipeline":
        pipeline.load_components(dtype=torch.float32)
    size = {"width": 64, "height": 64, "num_inference_steps": 4}
    made = pipeline(prompt="a cat", generator=torch.Generator().manual_seed(7), **size, **arguments)
    image: Image.Image = (made.images if cls != "ModularPipeline" else made.values["images"])[0]
    return image


@pytest.mark.parametrize(
    ("cls", "name", "is_tuple"),
    [
        ("CogView4Pipeline", "crops_coords_top_left", True),
        ("AmusedPipeline", "micro_conditioning_crop_coord", True),
        ("StableDiffusionAttendAndExcitePipeline", "attn_res", True),
        ("Flux2KleinPipeline", "text_encoder_out_layers", True),
        ("HunyuanDiTPipeline", "target_size", True),
        ("AmusedPipeline", "temperature", False),  # or a list
        ("FluxPipeline", "sigmas", False),
        ("FluxPipeline", "prompt", False),
        ("StableDiffusionXLPipeline", "timesteps", False),
    ],
)
def test_a_list_becomes_a_tuple_where_one_is_annotated_alone(
    cls: str, name: str, is_tuple: bool
) -> None:
    annotation = call_parameters(getattr(diffusers, cls))[name].annotation
    assert takes_tuple(annotation) is is_tuple
