from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dw.errors import RunFailed
from tests.engine.session import Json, Session, generate, text_to_image, workflow

PARTS = {
    "vae": "AutoencoderKL",
    "unet": "UNet2DConditionModel",
    "scheduler_": "PNDMScheduler",
    "text_encoder": "transformers.CLIPTextModel",
    "tokenizer": "transformers.CLIPTokenizer",
}


def part(model: Path, name: str) -> Json:
    return {
        "configuration": {"component_type": PARTS[name]},
        "from_pretrained_arguments": {"model_name": str(model), "subfolder": name.strip("_")},
    }


def test_a_class_and_a_model_that_do_not_belong_together(session: Session, flux: Path) -> None:
    error = session.fail(text_to_image(flux))
    assert isinstance(error, RunFailed)
    assert error.message == "StableDiffusionPipeline needs unet, which the model does not have"


def test_parts_of_other_models_replace_its_own(
    session: Session, sd15: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(sd15, tmp_path / "other"))
    plain = session.hashes(text_to_image(sd15))
    names = ("unet", "text_encoder", "tokenizer")
    assert session.hashes(text_to_image(sd15, **{n: part(other, n) for n in names})) == plain
    assert set(session.loaded) == {"gen.unet", "gen.text_encoder"}  # the tokenizer is the same


def test_settings_of_the_constructor_go_there(session: Session, sdxl: Path) -> None:
    xl = {"component_type": "StableDiffusionXLPipeline"}
    empty = {"force_zeros_for_empty_prompt": False}
    first = session.hashes(text_to_image(sdxl, configuration=xl))
    other = text_to_image(sdxl, configuration=xl, from_pretrained_arguments=empty)
    assert session.hashes(other) != first
    assert session.loaded == ()


test_settings_of_the_constructor_go_there = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning"
)(test_settings_of_the_constructor_go_there)


def test_a_variant_is_loaded_where_there_is_one(
    session: Session, sd15: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(sd15, tmp_path / "model"))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.rename(weights.with_suffix(".fp16.safetensors"))
    plain = session.hashes(text_to_image(sd15))
    variant = {"variant": "fp16"}
    assert session.hashes(text_to_image(model, from_pretrained_arguments=variant)) == plain
    assert session.loaded == ("gen.text_encoder", "gen.unet", "gen.vae")


def test_pickled_weights_need_trust(session: Session, sd15: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(sd15, tmp_path / "model"))
    plain = session.hashes(text_to_image(model))
    for file in [*model.rglob("*.safetensors")]:
        is_of_transformers = file.name == "model.safetensors"
        name = "pytorch_model.bin" if is_of_transformers else "diffusion_pytorch_model.bin"
        torch.save(load_file(file), file.with_name(name))
        file.unlink()
    error = session.fail(text_to_image(model))
    assert "are pickles" in error.message
    assert error.where == "step 'gen'"
    assert os.listdir(session.folder / "outputs" / "demo" / "0002") == ["run.json"]
    assert session.hashes(text_to_image(model), trust=True) == plain


def test_a_rehearsal_stands_in_for_overrides_too(session: Session, sd15: Path) -> None:
    override = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"model_name": "some/vae", "torch_dtype": "torch.float32"},
    }
    plain = session.hashes(text_to_image("any/model"), rehearse=True)
    assert session.hashes(text_to_image("any/model", vae=override), rehearse=True) != plain
    assert session.loaded == ("gen.vae",)


def test_a_rehearsal_says_which_component_is_missing(session: Session) -> None:
    step = text_to_image(
        "any/model", configuration={"component_type": "StableDiffusionControlNetPipeline"}
    )
    assert "needs controlnet" in session.fail(step, rehearse=True).message


@pytest.mark.parametrize(
    "arguments",
    [
        {"variant": "fp16", "revision": "main", "use_safetensors": True},
        {"model_name": None, "from_single_file": "https://huggingface.co/a/b/c.safetensors"},
    ],
)
def test_a_rehearsal_needs_nothing_of_the_real_model(session: Session, arguments: Any) -> None:
    document = text_to_image("any/model", from_pretrained_arguments=arguments)
    given = document["steps"][0]["pipeline"]["from_pretrained_arguments"]
    document["steps"][0]["pipeline"]["from_pretrained_arguments"] = {
        name: value for name, value in given.items() if value is not None
    }
    assert len(session.run(document, rehearse=True).outputs) == 1


def test_a_device_that_is_not_here_is_left_out_of_a_rehearsal(session: Session, sd15: Path) -> None:
    far = {"configuration": {"device": "cuda:9"}}
    session.run(text_to_image("any/model", **far), rehearse=True)
    assert "rehearsing on cpu" in session.warnings[0]
    assert "'cuda:9'" in session.fail(text_to_image(sd15, **far)).message


def test_a_model_is_found_beside_the_workflow_that_names_it(session: Session, sd15: Path) -> None:
    import json

    (session.folder / "inner").mkdir()
    (session.folder / "inner" / "model").symlink_to(sd15)
    (session.folder / "inner" / "child.json").write_text(json.dumps(text_to_image("./model")))
    step = {"name": "sub", "workflow": {"path": "inner/child.json"}}
    assert session.hashes(workflow(step)) == session.hashes(workflow(generate(sd15)))
