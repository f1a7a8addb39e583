from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextModel

from dw.engine.models.component_files import check_component, variants_in, weight_files
from dw.events import Loading, Warned
from tests.engine.session import Session, text_to_image

PLAIN = "diffusion_pytorch_model.safetensors"


@pytest.fixture
def model(sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd15, tmp_path / "model"))


def as_variant(files: Iterable[Path], variant: str = "fp16") -> None:
    for file in list(files):
        file.rename(file.with_suffix(f".{variant}{file.suffix}"))


def of(model: Path, **arguments: Any) -> dict[str, Any]:
    return text_to_image(model, from_pretrained_arguments=arguments)


def own(cls: str, folder: Path, **arguments: Any) -> dict[str, Any]:
    return {
        "configuration": {"component_type": cls},
        "from_pretrained_arguments": {"model_name": str(folder), **arguments},
    }


# ------------------------------------------------------------------ variants


def test_a_variant_that_no_component_has_is_an_error_with_those_that_are(
    session: Session, model: Path
) -> None:
    message = session.fail(of(model, variant="fp16")).message
    assert message == f"{str(model)!r} has no variant 'fp16'; its files have none"
    shutil.copy(model / "unet" / PLAIN, model / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    shutil.copy(
        model / "vae" / PLAIN, model / "vae" / "diffusion_pytorch_model.non_ema.safetensors"
    )
    message = session.fail(of(model, variant="fp61")).message
    assert message == f"{str(model)!r} has no variant 'fp61' (did you mean 'fp16'?)"
    message = session.fail(of(model, variant="bf")).message
    assert message == f"{str(model)!r} has no variant 'bf'; it has 'fp16', 'non_ema'"
    assert session.seen(Loading) == []


def test_components_without_the_variant_are_loaded_plain_with_a_warning(
    session: Session, model: Path
) -> None:
    plain = session.hashes(of(model))
    as_variant((model / "unet").glob("*.safetensors"))
    assert session.hashes(of(model, variant="fp16")) == plain
    assert [event.message for event in session.seen(Warned)] == [
        "text_encoder has no variant 'fp16': its plain weights are loaded",
        "vae has no variant 'fp16': its plain weights are loaded",
    ]
    as_variant(model.rglob("model.safetensors"))
    as_variant((model / "vae").glob("*.safetensors"))
    assert session.hashes(of(model, variant="fp16")) == plain
    assert session.seen(Warned) == []


def test_files_of_a_variant_only_name_it_as_the_cure(session: Session, model: Path) -> None:
    as_variant(model.rglob("*.safetensors"))
    error = session.fail(of(model))
    assert error.message == f"{str(model)!r} has weights of the variant 'fp16' only"
    assert error.hints == ('"variant": "fp16"   in from_pretrained_arguments loads them',)
    (vae := model / "vae" / PLAIN).with_suffix(".fp16.safetensors").rename(vae)
    error = session.fail(of(model))
    assert (
        error.message == f"{str(model / 'text_encoder')!r} has weights of the variant 'fp16' only"
    )


def test_a_component_of_its_own_must_have_the_variant(session: Session, model: Path) -> None:
    vae = own("AutoencoderKL", model / "vae", variant="fp16")
    error = session.fail(text_to_image(model, vae=vae))
    assert error.message == f"{str(model / 'vae')!r} has no variant 'fp16'; its files have none"
    as_variant((model / "vae").glob("*.safetensors"))
    assert session.fail(text_to_image(model, vae=own("AutoencoderKL", model / "vae"))).hints
    session.run(text_to_image(model, vae=vae))


# ------------------------------------------------------------------ whole files


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize("trouble", ["cut", "html", "link", "empty"])
def test_a_component_s_file_is_told_before_anything_loads(
    session: Session, model: Path, part: str, trouble: str
) -> None:
    session.run(of(model))
    file = next((model / part).glob("*.safetensors"))
    data = file.read_bytes()
    file.unlink()
    if trouble == "link":
        file.symlink_to("/nowhere/x")
    else:
        file.write_bytes({"cut": data[:-100], "html": b"<html>", "empty": b""}[trouble])
    expected = {
        "cut": f"is cut short: {len(data) - 100} of {len(data)} bytes",
        "html": "is an HTML page, not weights",
        "empty": "is empty",
        "link": "is a link to '/nowhere/x', which does not exist",
    }
    assert session.fail(of(model)).message == f"{str(file)!r} {expected[trouble]}"
    assert session.seen(Loading) == []
    assert {row.name for row in session.engine.memory().components} >= {"gen.unet", "gen.vae"}


def sharded(folder: Path, name: str) -> list[Path]:
    """Two shards beside the file of a model, with their index."""
    files = [folder / f"{name}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for file in files:
        save_file({file.name: torch.zeros(3)}, file)
    index = {"metadata": {}, "weight_map": {file.name: file.name for file in files}}
    (folder / f"{name}.safetensors.index.json").write_text(json.dumps(index))
    return files


def test_a_shard_that_is_missing_is_named(session: Session, model: Path) -> None:
    shard = sharded(model / "unet", "diffusion_pytorch_model")[1]
    shard.unlink()
    error = session.fail(of(model))
    assert error.message == f"{str(model / 'unet')!r} is not whole: {shard.name!r} is missing"
    assert error.hints == (f"without the index of the shards, {PLAIN!r} beside it is loaded",)


def test_one_file_and_shards_are_not_both_taken(model: Path) -> None:
    unet, encoder = model / "unet", model / "text_encoder"
    shards = sharded(unet, "diffusion_pytorch_model")
    sharded(encoder, "model")
    assert weight_files(unet, cls=UNet2DConditionModel) == shards
    assert weight_files(encoder, cls=CLIPTextModel) == [encoder / "model.safetensors"]


def test_one_of_several_variants_and_formats_is_taken(model: Path) -> None:
    unet = model / "unet"
    for name in ("diffusion_pytorch_model.fp16.safetensors", "diffusion_pytorch_model.bin"):
        shutil.copy(unet / PLAIN, unet / name)
    assert weight_files(unet) == [unet / PLAIN]
    assert weight_files(unet, "fp16") == [unet / "diffusion_pytorch_model.fp16.safetensors"]
    assert weight_files(unet, pickles=True) == [unet / "diffusion_pytorch_model.bin"]
    assert weight_files(unet, "bf16") == []


@pytest.mark.parametrize(
    "name",
    [
        "model.fp16.safetensors",
        "model.fp16-00001-of-00002.safetensors",
        "model-00001-of-00002.fp16.safetensors",
        "pytorch_model.fp16.bin",
        "diffusion_pytorch_model.fp16.safetensors",
    ],
)
def test_variants_are_known_by_the_names_of_files(tmp_path: Path, name: str) -> None:
    for plain in ("model.safetensors", "model-00001-of-00002.safetensors", "wan2.1.safetensors"):
        (tmp_path / plain).touch()
    assert variants_in(tmp_path) == []
    (tmp_path / name).touch()
    assert variants_in(tmp_path) == ["fp16"]


def test_a_pipeline_in_the_place_of_a_component_names_the_key(
    session: Session, model: Path
) -> None:
    error = session.fail(text_to_image(model, vae=own("AutoencoderKL", model)))
    assert error.message == f"{str(model)!r} is a whole pipeline, not one component"
    assert "'subfolder' names the folder of a component: " in str(error.hints[0])


# ------------------------------------------------------------------ adapters


def test_what_is_no_lora_is_told_before_the_pipeline_loads(session: Session, model: Path) -> None:
    (session.folder / "style.safetensors").write_text("<html><title>Log in</title>")
    document = text_to_image(model, loras=[{"model_name": "style.safetensors"}])
    error = session.fail(document)
    assert error.message == "the LoRA 'style.safetensors' is an HTML page ('Log in'), not weights"
    assert error.where == "step 'gen'"
    assert session.seen(Loading) == []


def test_what_is_no_ip_adapter_is_told_before_the_pipeline_loads(
    session: Session, model: Path, cat: Path
) -> None:
    shutil.copy(model / "vae" / PLAIN, session.folder / "faces.safetensors")
    adapter = {"model_name": "faces.safetensors", "image_encoder_folder": None}
    arguments = {"ip_adapter_image": cat.name}
    error = session.fail(text_to_image(model, ip_adapter=adapter, arguments=arguments))
    assert error.message.startswith("the IP-Adapter 'faces.safetensors' is no IP-Adapter: it has ")
    assert session.seen(Loading) == []


# ------------------------------------------------------------------ one file and shards


@pytest.mark.parametrize("infix", ["", ".fp16"])
@pytest.mark.parametrize("cls", [UNet2DConditionModel, CLIPTextModel])
def test_weights_that_are_there_twice_are_told(tmp_path: Path, cls: Any, infix: str) -> None:
    stem = "model" if cls is CLIPTextModel else "diffusion_pytorch_model"
    one = f"{stem}{infix}.safetensors"
    shards = [f"{stem}{infix}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for name in (one, *shards):
        save_file({"a.weight": torch.zeros(2, 2), "a.bias": torch.zeros(2)}, tmp_path / name)
    index = f"{stem}.safetensors.index{infix}.json"
    (tmp_path / index).write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}))
    told: list[str] = []
    variant = infix.removeprefix(".") or None
    check_component(tmp_path, variant, cls=cls, trust=False, warn=told.append)
    names = f"{one}, not {shards[0]} and 1 more"
    if cls is not CLIPTextModel:
        names = f"{shards[0]} and 1 more, not {one}"
    assert told == [
        f"{str(tmp_path)!r} holds weights twice: read is {names}; remove what is out of date"
    ]
    for name in shards if cls is CLIPTextModel else [one]:
        (tmp_path / name).unlink()
    told.clear()
    check_component(tmp_path, variant, cls=cls, trust=False, warn=told.append)
    assert told == []


def test_a_run_warns_of_them(session: Session, model: Path) -> None:
    folder = model / "text_encoder"
    save_file({"a": torch.zeros(1)}, folder / "model-00001-of-00001.safetensors")
    session.run(of(model))
    assert session.warnings == [
        f"{str(folder)!r} holds weights twice: read is model.safetensors, "
        "not model-00001-of-00001.safetensors; remove what is out of date"
    ]
