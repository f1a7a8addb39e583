"""Several ControlNets in one model, whose folders lie beside each other."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel

from dw.engine.models.component_files import folders_of, weight_files
from tests.engine.session import Json, Session, text_to_image

SEVERAL = f"{MultiControlNetModel.__module__}.{MultiControlNetModel.__name__}"


def one(model: Path, seed: int) -> ControlNetModel:
    """One that can be seen: those fresh from a UNet end in zeros and control nothing."""
    torch.manual_seed(seed)
    unet = UNet2DConditionModel.from_pretrained(model / "unet")
    made: ControlNetModel = ControlNetModel.from_unet(unet, conditioning_channels=3)
    for layer in [*made.controlnet_down_blocks, made.controlnet_mid_block]:
        torch.nn.init.normal_(layer.weight, std=0.3)
    torch.nn.init.normal_(made.controlnet_cond_embedding.conv_out.weight, std=0.3)
    return made


@pytest.fixture
def several(session: Session, sd15: Path, cat: Path) -> Json:
    nets = MultiControlNetModel([one(sd15, 0), one(sd15, 1)])
    nets.save_pretrained(str(session.folder / "nets"))
    return text_to_image(
        sd15,
        configuration={"component_type": "StableDiffusionControlNetPipeline"},
        controlnet={
            "configuration": {"component_type": SEVERAL},
            "from_pretrained_arguments": {"model_name": "nets"},
        },
        arguments={"image": ["cat.png"] * 2, "controlnet_conditioning_scale": [0.5, 0.5]},
    )


def test_another_model_beside_the_first_is_loaded(
    session: Session, sd15: Path, several: Json
) -> None:
    before = session.hashes(several)
    assert session.hashes(several) == before
    assert session.loaded == ()
    one(sd15, 2).save_pretrained(session.folder / "nets_1")
    after = session.hashes(several)
    assert session.loaded == ("gen.controlnet",)
    assert after != before
    session.engine.clear()
    assert session.hashes(several) == after


def test_one_more_folder_is_one_more_model(session: Session, sd15: Path, several: Json) -> None:
    session.run(several)
    one(sd15, 2).save_pretrained(session.folder / "nets_2")
    several["steps"][0]["pipeline"]["arguments"] |= {
        "image": ["cat.png"] * 3,
        "controlnet_conditioning_scale": [0.5] * 3,
    }
    assert session.hashes(several)
    assert session.loaded == ("gen.controlnet",)


def test_the_forecast_counts_each(session: Session, several: Json) -> None:
    nets = session.folder / "nets"
    assert [f.parent.name for f in weight_files(nets, cls=MultiControlNetModel)] == [
        "nets",
        "nets_1",
    ]
    assert folders_of(nets, ControlNetModel) == [nets]


def test_a_model_beside_the_first_is_judged(session: Session, several: Json) -> None:
    (session.folder / "nets_1").rename(session.folder.parent / "elsewhere")
    (session.folder / "nets_1").symlink_to(session.folder.parent / "elsewhere")
    assert "is outside of the workflow's folder" in str(session.fail(several))


def test_weights_beside_the_first_that_are_cut_are_told(session: Session, several: Json) -> None:
    (file,) = weight_files(session.folder / "nets_1")
    file.write_bytes(file.read_bytes()[:-10])
    assert str(file) in str(session.fail(several))
