"""clip_skip, whose right value is computed here: a hidden state under the final layer norm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from dw.engine.calls.clip_skip import skipping
from tests.engine.session import Json, Session, on_a_gpu, text_to_image

PROMPT = "a red fox in the snow"


def drawn(model: Path, skip: int | None, **changes: Any) -> Json:
    return text_to_image(
        model, arguments={"prompt": PROMPT, "guidance_scale": 1, "clip_skip": skip}, **changes
    )


def image_of(session: Session, workflow: Json) -> np.ndarray:
    return np.asarray(Image.open(session.run(workflow).outputs[0].path))


def right(model: Path, skip: int, cls: str = "StableDiffusionPipeline") -> np.ndarray:
    """The image, of embeddings that are computed without the pipeline."""
    import diffusers

    pipeline = getattr(diffusers, cls).from_pretrained(model, safety_checker=None)
    ids = pipeline.tokenizer(
        PROMPT, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
    ).input_ids
    encoder = pipeline.text_encoder
    with torch.inference_mode():
        states = encoder(ids, output_hidden_states=True).hidden_states
        embeds = encoder.final_layer_norm(states[-(skip + 1)])
        image = pipeline(
            prompt_embeds=embeds,
            guidance_scale=1,
            width=64,
            height=64,
            num_inference_steps=4,
            generator=torch.Generator("cpu").manual_seed(7),
        ).images[0]
    return np.asarray(image)


@pytest.mark.parametrize("skip", [0, 1])
def test_the_image_is_that_of_the_right_hidden_state(warm: Session, sd15: Path, skip: int) -> None:
    assert np.array_equal(image_of(warm, drawn(sd15, skip)), right(sd15, skip))


def test_no_skip_is_a_skip_of_zero_and_another_differs(warm: Session, sd15: Path) -> None:
    none, zero, one = (warm.hashes(drawn(sd15, skip)) for skip in (None, 0, 1))
    assert none == zero != one
    assert warm.hashes(drawn(sd15, None)) == none


def test_an_offloaded_encoder_skips_too(session: Session, sd15: Path) -> None:
    on_a_gpu(session)
    changes = {"component_type": "StableDiffusionPipeline", "offload": "model"}
    offloaded = image_of(session, drawn(sd15, 1, configuration=changes))
    assert np.array_equal(offloaded, right(sd15, 1))


# What torch 2.13 gives numpy 2.4, in the scheduler.
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_sdxl_draws_as_before(warm: Session, sdxl: Path) -> None:
    xl = {"component_type": "StableDiffusionXLPipeline"}
    none, zero, one = (warm.hashes(drawn(sdxl, n, configuration=xl)) for n in (None, 0, 1))
    assert none == zero != one


def test_more_than_all_layers_cannot_be_skipped(warm: Session, sd15: Path) -> None:
    failure = warm.fail(drawn(sd15, 40))
    assert "'clip_skip' must be below 2, the layers of the text encoder, got 40" in str(failure)


def test_the_encoder_is_as_before_after_the_call(sd15: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(sd15)
    encoder = pipeline.text_encoder
    keys = list(encoder.state_dict())
    with skipping(pipeline, 1):
        assert encoder.text_model.final_layer_norm is encoder.final_layer_norm
        assert list(encoder.state_dict()) == keys
    assert not hasattr(encoder, "text_model")


def test_an_inner_text_model_of_older_versions_stays(sd15: Path) -> None:
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(sd15)
    inner = torch.nn.Module()
    inner.final_layer_norm = torch.nn.LayerNorm(4)
    pipeline.text_encoder.text_model = inner
    with skipping(pipeline, 1):
        assert pipeline.text_encoder.text_model is inner
    assert pipeline.text_encoder.text_model is inner


@pytest.mark.parametrize(
    "cls",
    [
        "StableDiffusionPAGPipeline",
        "StableDiffusionImg2ImgPipeline",
        "StableDiffusionControlNetPipeline",
        "AnimateDiffPipeline",
        "I2VGenXLPipeline",
    ],
)
def test_relatives_draw_with_a_skip(session: Session, cls: str, cat: Path) -> None:
    arguments: Json = {"prompt": PROMPT, "clip_skip": 1}
    if "Img" in cls or "ControlNet" in cls or "I2V" in cls:
        arguments["image"] = cat.name
    changes: Json = {"configuration": {"component_type": cls}, "arguments": arguments}
    if "ControlNet" in cls:
        changes["controlnet"] = {
            "configuration": {"component_type": "ControlNetModel"},
            "from_pretrained_arguments": {"model_name": "any/controlnet"},
        }
    if "Animate" in cls:
        changes["motion_adapter"] = {
            "configuration": {"component_type": "MotionAdapter"},
            "from_pretrained_arguments": {"model_name": "any/motion"},
        }
    document = text_to_image("any/model", **changes)
    if "Img" in cls:  # its image has the size
        del document["steps"][0]["pipeline"]["arguments"]["width"]
        del document["steps"][0]["pipeline"]["arguments"]["height"]
    document["steps"][0]["result"] = {"content_type": "image/png", "save": False}
    assert session.run(document, rehearse=True).seconds > 0
