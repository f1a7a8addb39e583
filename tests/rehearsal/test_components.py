from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from dw.errors import WorkflowError
from dw.rehearsal import stand_in, stand_in_component

pytestmark = [
    pytest.mark.usefixtures("stand_ins"),
    # diffusers' Euler scheduler hands a tensor to numpy 2 in the old way
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:diffusers"),
]

SIZE = 64
IMAGE = Image.linear_gradient("L").resize((SIZE, SIZE)).convert("RGB")
ARGUMENTS = {
    "width": SIZE,
    "height": SIZE,
    "num_inference_steps": 2,
    "num_frames": 5,
    "image": IMAGE,
    "control_image": IMAGE,
    "mask_image": Image.new("L", (SIZE, SIZE), 255),
}


def draw(class_name: str, components: dict[str, Any], **arguments: Any) -> Any:
    """The pixels that a pipeline draws with these components in their places."""
    cls = getattr(diffusers, class_name)
    pipeline = cls.from_pretrained(stand_in(class_name, ""), **components)
    pipeline.set_progress_bar_config(disable=True)
    accepted = inspect.signature(cls.__call__).parameters
    call = {name: value for name, value in ARGUMENTS.items() if name in accepted} | arguments
    result = pipeline("a red cat", generator=torch.Generator().manual_seed(0), **call)
    images = result.images if hasattr(result, "images") else result.frames[0]
    return np.stack([np.asarray(image, dtype=float) for image in images])


def component(class_name: str, name: str, cls: str, model_name: str = "some/model") -> Any:
    found: Any = getattr(diffusers, cls, None) or getattr(transformers, cls)
    return found.from_pretrained(
        stand_in_component(stand_in(class_name, ""), name, found, model_name)
    )


@pytest.mark.parametrize(
    ("class_name", "name", "cls", "arguments"),
    [
        ("StableDiffusionPipeline", "vae", "AutoencoderKL", {}),
        ("StableDiffusionPipeline", "vae", "AutoencoderTiny", {}),
        ("StableDiffusionPipeline", "vae", "AsymmetricAutoencoderKL", {}),
        ("StableDiffusionPipeline", "text_encoder", "CLIPTextModel", {}),
        ("StableDiffusionPipeline", "tokenizer", "CLIPTokenizer", {}),
        ("FluxPipeline", "transformer", "FluxTransformer2DModel", {}),
        ("FluxPipeline", "text_encoder_2", "T5EncoderModel", {}),
        ("StableDiffusionControlNetPipeline", "controlnet", "ControlNetModel", {}),
        ("StableDiffusionControlNetInpaintPipeline", "controlnet", "ControlNetModel", {}),
        ("StableDiffusionXLControlNetPipeline", "controlnet", "ControlNetModel", {}),
        (
            "StableDiffusionXLControlNetUnionPipeline",
            "controlnet",
            "ControlNetUnionModel",
            {"control_mode": 0},
        ),
        ("StableDiffusion3ControlNetPipeline", "controlnet", "SD3ControlNetModel", {}),
        ("FluxControlNetPipeline", "controlnet", "FluxControlNetModel", {}),
        ("StableDiffusionAdapterPipeline", "adapter", "T2IAdapter", {}),
        ("StableDiffusionXLAdapterPipeline", "adapter", "T2IAdapter", {}),
        ("AnimateDiffPipeline", "motion_adapter", "MotionAdapter", {}),
    ],
)
def test_a_component_fits_the_pipeline(
    class_name: str, name: str, cls: str, arguments: dict[str, Any]
) -> None:
    images = draw(class_name, {name: component(class_name, name, cls)}, **arguments)
    assert images.shape[1:] == (SIZE, SIZE, 3)
    assert np.isfinite(images).all()


def test_the_model_id_decides_the_weights_and_the_image() -> None:
    def image(model_name: str) -> Any:
        transformer = component("FluxPipeline", "transformer", "FluxTransformer2DModel", model_name)
        return draw("FluxPipeline", {"transformer": transformer})

    assert np.array_equal(image("a/model"), image("a/model"))
    assert abs(image("a/model") - image("another/model")).mean() > 1


def test_a_controlnet_is_seen_in_the_image() -> None:
    class_name = "StableDiffusionControlNetPipeline"
    controlnet = {"controlnet": component(class_name, "controlnet", "ControlNetModel")}
    full, none = (draw(class_name, controlnet, controlnet_conditioning_scale=s) for s in (1.0, 0.0))
    assert abs(full - none).mean() > 1


def test_a_class_that_has_no_stand_in_is_named() -> None:
    with pytest.raises(WorkflowError, match="VitsTokenizer has no stand-in"):
        component("FluxPipeline", "processor", "VitsTokenizer")


def test_every_making_gives_the_same_bytes(fresh: Path) -> None:
    def weights() -> bytes:
        folder = stand_in_component(
            stand_in("FluxPipeline", ""), "vae", diffusers.AutoencoderKL, "a/b"
        )
        return (folder / "diffusion_pytorch_model.safetensors").read_bytes()

    first = weights()
    for place in (fresh).iterdir():
        place.rename(fresh.with_name(place.name))
    assert weights() == first
