"""Models on this machine that cannot be loaded are told at their place, before a run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from tests.engine.session import Json, Session, text_to_image


def problems(session: Session, workflow: Json, **options: Any) -> list[tuple[str, str]]:
    """The text at the place of each error, with its message."""
    document = session.document(workflow, **options)
    found = session.engine.check_models(document, "cpu")
    lines = document.source.text.splitlines()
    return [
        (lines[each.line - 1].strip().rstrip(","), each.message)
        for each in found
        if each.severity == "error"
    ]


@pytest.fixture
def model(sd15: Path, session: Session) -> Path:
    return Path(shutil.copytree(sd15, session.folder / "model"))


def test_a_model_that_loads_is_no_problem(session: Session, model: Path) -> None:
    assert problems(session, text_to_image("model")) == []
    assert problems(session, text_to_image("somebody/not-here")) == []


def test_a_variant_is_told_at_its_key(session: Session, model: Path) -> None:
    workflow = text_to_image("model", from_pretrained_arguments={"variant": "fp61"})
    message = "'model' has no variant 'fp61'; its files have none; without 'variant' the plain "
    assert problems(session, workflow) == [('"variant": "fp61"', f"{message}weights are loaded")]


def test_a_file_that_is_cut_is_told_at_its_model(session: Session, model: Path) -> None:
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    [(place, message)] = problems(session, text_to_image("model"))
    assert place == '"model_name": "model"'
    assert "is cut short" in message


def test_each_component_and_adapter_is_told_at_its_own(session: Session, model: Path) -> None:
    for name in ("a", "b", "c"):
        (session.folder / f"{name}.safetensors").write_text("<html>")
    vae = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"from_single_file": "a.safetensors"},
    }
    workflow = text_to_image(
        "model",
        vae=vae,
        loras=[{"model_name": "b.safetensors"}],
        ip_adapter={"model_name": "c.safetensors", "image_encoder_folder": None},
        arguments={"ip_adapter_image": "red.png"},
    )
    again = "is an HTML page, not weights; download it again; the link may need a login"
    assert problems(session, workflow) == [
        (
            '"from_single_file": "a.safetensors"',
            f"{str(session.folder / 'a.safetensors')!r} {again}",
        ),
        ('"model_name": "b.safetensors"', f"the LoRA 'b.safetensors' {again}"),
        ('"model_name": "c.safetensors"', f"the IP-Adapter 'c.safetensors' {again}"),
    ]


def test_an_adapter_is_told_whether_or_not_its_pipeline_is_here(session: Session) -> None:
    address = "https://civitai.com/api/download/models/12345"
    workflow = text_to_image("somebody/not-here", loras=[{"model_name": address}])
    assert problems(session, workflow) == [
        (
            f'"model_name": "{address}"',
            "models are loaded from huggingface.co, not from 'civitai.com'; download the file and "
            "name its path",
        )
    ]


def test_a_pickle_is_told_unless_the_workflow_is_trusted(session: Session, model: Path) -> None:
    torch.save({"unet.lora": torch.zeros(1)}, session.folder / "x.bin")
    workflow = text_to_image("model", loras=[{"model_name": "x.bin"}])
    [(_, message)] = problems(session, workflow)
    assert message.endswith(
        "are pickles; reading them can run code; the setting 'trust' allows it; safetensors files "
        "need no trust"
    )
    assert problems(session, workflow, trust=True) == []


def test_what_an_argument_may_replace_is_a_warning(session: Session, model: Path) -> None:
    save_file({"a.b": torch.zeros(1, 2, 3)}, session.folder / "x.safetensors")
    workflow = text_to_image("model", loras=[{"model_name": "variable:lora"}])
    workflow["variables"] = {"lora": "x.safetensors"}
    found = session.engine.check_models(session.document(workflow), "cpu")
    assert [each.severity for each in found] == ["warning"]
    assert "is no LoRA: it has 1 tensors" in found[0].message
