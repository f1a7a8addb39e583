"""A model and its file have the same weights, or the run fails and says which they do not share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, CLIPTextConfig, CLIPVisionConfig

from dw.errors import RunFailed
from dw.rehearsal import stand_in_component
from tests.engine.session import PNG, Json, Session, text_to_image, workflow

Weights = dict[str, torch.Tensor]


def edited(path: Path, edit: Callable[[Weights], object]) -> None:
    weights = load_file(path)
    edit(weights)
    save_file(weights, path, metadata={"format": "pt"})


def some_missing(weights: Weights) -> None:
    weights.pop(min(weights))


def one_more(weights: Weights) -> None:
    weights["not.there"] = torch.zeros(3)


@pytest.fixture
def model(sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd15, tmp_path / "model"))


def accepts(session: Session, document: Json, told: str) -> None:
    """What memory holds in place of missing weights may be NaN, which is an error of its own."""
    messages = []
    try:
        session.run(document)
    except RunFailed as error:
        messages.append(error.message)
        session.engine.recover()
    assert not any(told in message for message in messages)


def weights_in(folder: Path) -> Path:
    return next(folder.glob("*.safetensors"))


MISSING = ("are not there and would be random", "allow_missing_weights")
UNUSED = ("there have no place in the model", "allow_unused_weights")
EDITS = pytest.mark.parametrize(
    ("edit", "told"), [(some_missing, MISSING), (one_more, UNUSED)], ids=["missing", "unused"]
)


@EDITS
@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_component_of_a_folder(
    session: Session, model: Path, part: str, edit: Any, told: tuple[str, str]
) -> None:
    edited(weights_in(model / part), edit)
    error = session.fail(text_to_image(model))
    assert isinstance(error, RunFailed)
    assert error.where == f"loading gen.{part}"
    assert f"{str(model / part)!r} differ: 1 " in error.message
    assert told[0] in error.message
    assert told[1] in str(error.hints[1])
    accepts(session, text_to_image(model, from_pretrained_arguments={told[1]: True}), told[0])
    session.fail(text_to_image(model))  # what was allowed once is not taken from the cache
    session.fail(text_to_image(model, from_pretrained_arguments={told[1]: False}))


def test_the_same_seed_never_draws_two_images_in_two_processes(
    session: Session, model: Path
) -> None:
    edited(weights_in(model / "unet"), lambda weights: weights.pop("conv_out.weight"))
    error = session.fail(text_to_image(model))
    assert error.message.endswith("('conv_out.weight')")
    assert {row.name for row in session.engine.memory().components} == {
        *("gen.text_encoder", "gen.tokenizer")
    }


@EDITS
def test_shards(session: Session, model: Path, edit: Any, told: tuple[str, str]) -> None:
    whole = weights_in(model / "unet")
    edited(whole, edit)
    names = sorted(weights := load_file(whole))
    files = [f"diffusion_pytorch_model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    places = {name: files[number % 2] for number, name in enumerate(names)}
    for file in files:
        part = {n: weights[n] for n in names if places[n] == file}
        save_file(part, whole.with_name(file), metadata={"format": "pt"})
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    whole.with_name("diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    whole.unlink()
    assert told[0] in session.fail(text_to_image(model)).message


def override(kind: str, folder: Path, **arguments: object) -> Json:
    return {
        "configuration": {"component_type": kind},
        "from_pretrained_arguments": {"model_name": str(folder), **arguments},
    }


@EDITS
def test_a_component_of_its_own_is_allowed_by_its_own_key(
    session: Session, model: Path, sd15: Path, edit: Any, told: tuple[str, str]
) -> None:
    edited(weights_in(model / "vae"), edit)
    vae = override("AutoencoderKL", model / "vae")
    allowed = {told[1]: True}
    error = session.fail(text_to_image(sd15, vae=vae, from_pretrained_arguments=allowed))
    assert error.where == "loading gen.vae"
    own = override("AutoencoderKL", model / "vae", **allowed)
    accepts(session, text_to_image(sd15, vae=own), told[0])


@EDITS
def test_a_controlnet(
    session: Session, sd15: Path, cat: Path, tmp_path: Path, edit: Any, told: tuple[str, str]
) -> None:
    from diffusers import ControlNetModel

    own = Path(
        shutil.copytree(
            stand_in_component(sd15, "controlnet", ControlNetModel, "any"), tmp_path / "controlnet"
        )
    )
    edited(weights_in(own), edit)
    document = text_to_image(
        sd15,
        configuration={"component_type": "StableDiffusionControlNetPipeline"},
        controlnet=override("ControlNetModel", own),
        arguments={"image": "cat.png"},
    )
    assert told[0] in session.fail(document).message


@EDITS
def test_a_checkpoint_in_one_file(
    session: Session, model: Path, sd15: Path, edit: Any, told: tuple[str, str]
) -> None:
    own = Path(shutil.copy(weights_in(model / "unet"), session.folder / "own.safetensors"))
    edited(own, edit)
    unet: Json = {
        "configuration": {"component_type": "UNet2DConditionModel"},
        "from_pretrained_arguments": {
            "from_single_file": "own.safetensors",
            "config": str(sd15),
            "subfolder": "unet",
        },
    }
    assert told[0] in session.fail(text_to_image(sd15, unet=unet)).message


@EDITS
def test_a_model_of_transformers(
    session: Session, tmp_path: Path, edit: Any, told: tuple[str, str]
) -> None:
    from dw.rehearsal import stand_in_model

    folder = Path(shutil.copytree(stand_in_model("language"), tmp_path / "language"))
    edited(weights_in(folder), edit)

    def document(**allowed: bool) -> Json:
        pipeline = override("transformers.AutoModelForCausalLM", folder, **allowed)
        pipeline["configuration"]["generate"] = True
        pipeline["arguments"] = {"max_new_tokens": 1}
        return workflow({"name": "load", "pipeline": pipeline, "result": PNG})

    assert told[0] in session.fail(document()).message
    accepts(session, document(**{told[1]: True}), told[0])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("backend", ["torchao", "quanto", "sdnq"])
@EDITS
def test_weights_that_are_quantized_while_they_are_loaded(
    session: Session, model: Path, backend: str, edit: Any, told: tuple[str, str]
) -> None:
    configs: dict[str, Json] = {
        "torchao": {
            "configuration": {"config_type": "TorchAoConfig"},
            "arguments": {"quant_type": "torchao.quantization.Int8WeightOnlyConfig"},
        },
        "quanto": {
            "configuration": {"config_type": "QuantoConfig"},
            "arguments": {"weights_dtype": "{int8}"},
        },
        "sdnq": {
            "configuration": {"config_type": "sdnq.SDNQConfig"},
            "arguments": {"weights_dtype": "{int8}"},
        },
    }
    unet = override("UNet2DConditionModel", model / "unet")
    unet["quantization_config"] = configs[backend]
    session.run(text_to_image(model, unet=unet))
    edited(weights_in(model / "unet"), edit)
    assert told[0] in session.fail(text_to_image(model, unet=unet)).message


def test_a_model_that_is_a_part_of_a_larger_one(
    session: Session, model: Path, tmp_path: Path
) -> None:
    """The text encoder of a CLIP whose image encoder nobody needs here."""
    part = json.loads((model / "text_encoder" / "config.json").read_text())
    text = CLIPTextConfig(**{k: v for k, v in part.items() if k not in ("architectures", "dtype")})
    vision = CLIPVisionConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    from transformers import CLIPConfig

    whole = CLIPModel(
        CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    )
    whole.save_pretrained(tmp_path / "clip")
    encoder = override("transformers.CLIPTextModel", tmp_path / "clip")
    session.run(text_to_image(model, text_encoder=encoder))


def test_scaled_float8_weights_are_scaled(session: Session, sd15: Path) -> None:
    """A UNet as float8 with scales draws the image of the same numbers without them."""
    weights = load_file(weights_in(sd15 / "unet"))
    scaled, plain = {}, {}
    for name, weight in weights.items():
        plain[name] = scaled[name] = weight
        if weight.ndim == 2 and name.endswith(".weight") and "attn" in name:
            scaled[name] = (weight * 4).to(torch.float8_e4m3fn)
            scaled[name.removesuffix("weight") + "scale_weight"] = torch.tensor(0.25)
            plain[name] = scaled[name].float() * 0.25
    scaled["scaled_fp8"] = torch.zeros(2).to(torch.float8_e4m3fn)
    save_file(scaled, session.folder / "scaled.safetensors")
    save_file(plain, session.folder / "plain.safetensors")

    def unet(name: str) -> Json:
        return {
            "configuration": {"component_type": "UNet2DConditionModel"},
            "from_pretrained_arguments": {
                "from_single_file": name,
                "config": str(sd15),
                "subfolder": "unet",
            },
        }

    assert session.hashes(text_to_image(sd15, unet=unet("scaled.safetensors"))) == session.hashes(
        text_to_image(sd15, unet=unet("plain.safetensors"))
    )


def test_scaled_float8_weights_in_a_folder_are_told(session: Session, model: Path) -> None:
    def scale(weights: Weights) -> None:
        weights["conv_in.scale_weight"] = torch.tensor(0.25)

    edited(weights_in(model / "unet"), scale)
    error = session.fail(text_to_image(model))
    assert "from_single_file" in str(error.hints[0])
