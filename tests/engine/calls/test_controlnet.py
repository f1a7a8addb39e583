"""A ControlNet beside the pipeline: a component that the model itself does not have."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from PIL import Image

from tests.engine.session import Json, Session, text_to_image

CONTROLLED = {"component_type": "StableDiffusionControlNetPipeline"}


@pytest.fixture(scope="module")
def controlnet(sd15: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that can be seen: those fresh from a UNet end in zeros and control nothing."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_pretrained(sd15 / "unet")
    model = ControlNetModel.from_unet(unet, conditioning_channels=3)
    for layer in [*model.controlnet_down_blocks, model.controlnet_mid_block]:
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(model.controlnet_cond_embedding.conv_out.weight, std=0.3)
    folder = tmp_path_factory.mktemp("controlnet")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def session(session: Session, controlnet: Path) -> Session:
    """A session whose workflows may read the ControlNet."""
    session.allowed = (*session.allowed, controlnet)
    return session


def controlled(model: Path, controlnet: Path, image: str = "cat.png", **arguments: Any) -> Json:
    override = {
        "configuration": {"component_type": "ControlNetModel"},
        "from_pretrained_arguments": {"model_name": str(controlnet)},
    }
    call = {"image": image, **arguments}
    return text_to_image(model, configuration=CONTROLLED, controlnet=override, arguments=call)


def test_the_image_follows_the_one_that_controls_it(
    session: Session, sd15: Path, controlnet: Path, cat: Path
) -> None:
    Image.new("RGB", (64, 64), "white").save(session.folder / "white.png")
    plain = session.hashes(text_to_image(sd15))
    cats = session.hashes(controlled(sd15, controlnet))
    assert session.loaded == ("gen.controlnet",)
    white = session.hashes(controlled(sd15, controlnet, "white.png"))
    assert len({*plain, *cats, *white}) == 3
    off = session.hashes(controlled(sd15, controlnet, controlnet_conditioning_scale=0.0))
    assert off == plain
    assert session.loaded == ()


def test_without_it_the_next_image_is_the_plain_one(
    session: Session, sd15: Path, controlnet: Path, cat: Path
) -> None:
    plain = session.hashes(text_to_image(sd15))
    session.run(controlled(sd15, controlnet))
    assert session.hashes(text_to_image(sd15)) == plain
    assert session.dropped == ("gen.controlnet",)


def test_it_takes_the_dtype_of_the_pipeline(
    session: Session, sd15: Path, controlnet: Path, cat: Path
) -> None:
    document = controlled(sd15, controlnet)
    loads = document["steps"][0]["pipeline"]["from_pretrained_arguments"]
    loads["torch_dtype"] = "torch.bfloat16"
    session.run(document)
    dtypes = {row.name: row.dtype for row in session.engine.memory().components}
    assert dtypes["gen.controlnet"] == dtypes["gen.unet"] == "bfloat16"


def test_a_pipeline_that_needs_one_and_has_none_is_told(session: Session, sd15: Path) -> None:
    error = session.fail(text_to_image(sd15, configuration=CONTROLLED))
    assert error.message == (
        "StableDiffusionControlNetPipeline needs controlnet, which the model does not have"
    )


def test_a_pipeline_that_takes_none_is_told(warm: Session, controlnet: Path) -> None:
    document = controlled(Path("any/model"), controlnet)
    document["steps"][0]["pipeline"]["configuration"] = {
        "component_type": "StableDiffusionPipeline"
    }
    messages = [problem.message for problem in warm.engine.check(warm.document(document))]
    wanted = "StableDiffusionPipeline has no component 'controlnet'; it has "
    assert any(message.startswith(wanted) for message in messages)
