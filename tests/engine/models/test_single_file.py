"""Checkpoints in one file: here one that holds the UNet, with the other models from folders."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from dw.errors import RunFailed, TrustWorkflow, WorkflowError
from dw.events import Planned
from tests.engine.session import Json, Session, merged, text_to_image


@pytest.fixture
def checkpoint(sd15: Path, tmp_path: Path) -> Path:
    weights = sd15 / "unet" / "diffusion_pytorch_model.safetensors"
    return Path(shutil.copy(weights, tmp_path / "tiny.safetensors"))


def from_file(checkpoint: Path, sd15: Path, **changes: Any) -> Json:
    document = text_to_image("")
    step = document["steps"][0]
    step["pipeline"]["from_pretrained_arguments"] = {
        "from_single_file": str(checkpoint),
        "config": str(sd15),
    }
    step["pipeline"]["vae"] = _part("AutoencoderKL", sd15, "vae")
    step["pipeline"]["text_encoder"] = _part("transformers.CLIPTextModel", sd15, "text_encoder")
    step["pipeline"] = merged(step["pipeline"], changes)
    return document


def _part(component_type: str, model: Path, subfolder: str) -> Json:
    return {
        "configuration": {"component_type": component_type},
        "from_pretrained_arguments": {"model_name": str(model), "subfolder": subfolder},
    }


def test_it_draws_the_image_of_the_folder(session: Session, checkpoint: Path, sd15: Path) -> None:
    images = session.hashes(from_file(checkpoint, sd15))
    assert session.loaded == ("gen.vae", "gen.text_encoder", "gen.tiny.safetensors")
    assert images == session.hashes(text_to_image(sd15))


def test_its_parts_are_known_and_kept(session: Session, checkpoint: Path, sd15: Path) -> None:
    before = session.hashes(from_file(checkpoint, sd15))
    assert session.hashes(from_file(checkpoint, sd15)) == before
    assert (session.reason, session.loaded) == ("cached", ())
    kept = session.seen(Planned)[0].kept
    assert set(kept) == {"gen.unet", "gen.tokenizer", "gen.vae", "gen.text_encoder"}


def test_a_changed_file_is_read_again(session: Session, checkpoint: Path, sd15: Path) -> None:
    session.run(from_file(checkpoint, sd15))
    os.utime(checkpoint, ns=(1, 1))
    session.run(from_file(checkpoint, sd15))
    assert session.loaded == ("gen.tiny.safetensors",)
    assert set(session.dropped) == {"gen.unet", "gen.tokenizer"}


def test_what_a_file_lacks_is_told_with_its_name_also_when_it_was_read_before(
    session: Session, checkpoint: Path, sd15: Path
) -> None:
    session.run(from_file(checkpoint, sd15))
    session.run(text_to_image(sd15))
    error = session.fail(from_file(checkpoint, sd15, text_encoder=None))
    assert error.where == "loading gen.tiny.safetensors"


def test_another_dtype_of_one_part_reads_that_one(
    session: Session, checkpoint: Path, sd15: Path
) -> None:
    before = session.hashes(from_file(checkpoint, sd15))
    double = {"configuration": {"unet": {"torch_dtype": "torch.float64"}}}
    session.fail(from_file(checkpoint, sd15, **double))  # its latents stay float32
    assert session.loaded == session.dropped == ("gen.unet",)
    dtypes = {row.name: row.dtype for row in session.engine.memory().components}
    assert dtypes["gen.unet"] == "float64"
    assert session.hashes(from_file(checkpoint, sd15)) == before


def test_the_parts_are_loaded_again_after_a_clear(
    session: Session, checkpoint: Path, sd15: Path
) -> None:
    before = session.hashes(from_file(checkpoint, sd15))
    assert session.engine.clear().survivors == ()
    assert session.hashes(from_file(checkpoint, sd15)) == before


def test_a_pickle_is_refused_without_trust(session: Session, checkpoint: Path, sd15: Path) -> None:
    pickled = checkpoint.with_suffix(".ckpt")
    torch.save(load_file(checkpoint), pickled)
    error = session.fail(from_file(pickled, sd15))
    assert isinstance(error, RunFailed)
    assert error.remedies == (TrustWorkflow("you trust them"),)


def test_the_generic_class_cannot_know_what_is_in_a_file(
    session: Session, checkpoint: Path, sd15: Path
) -> None:
    generic = {"configuration": {"component_type": "DiffusionPipeline"}}
    error = session.fail(from_file(checkpoint, sd15, **generic))
    assert isinstance(error, WorkflowError)
    assert "DiffusionPipeline cannot load a single file" in error.message


def test_everything_changed_at_once_is_read_in_the_right_order(
    session: Session, checkpoint: Path, sd15: Path
) -> None:
    session.run(from_file(checkpoint, sd15))
    half = {"from_pretrained_arguments": {"torch_dtype": "torch.bfloat16"}}
    session.run(from_file(checkpoint, sd15, **half, vae=half, text_encoder=half))
    assert session.loaded == ("gen.vae", "gen.text_encoder", "gen.unet")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks`:UserWarning")
def test_a_file_whose_config_cannot_be_fetched_names_the_argument(
    session: Session, checkpoint: Path, sd15: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    unet = {
        "configuration": {"component_type": "UNet2DConditionModel"},
        "from_pretrained_arguments": {"from_single_file": str(checkpoint)},
    }
    whole = from_file(checkpoint, sd15)
    del whole["steps"][0]["pipeline"]["from_pretrained_arguments"]["config"]
    for document in (whole, text_to_image(sd15, unet=unet)):
        error = session.fail(document)
        assert error.message.startswith(f"{str(checkpoint)!r} comes without its config, and ")
        assert error.message.endswith("; HF_HUB_OFFLINE is set, so nothing is downloaded")
        assert '"config"' in str(error.hints[0])


def test_the_folder_of_a_model_is_no_file(session: Session, sd15: Path) -> None:
    vae = {
        "configuration": {"component_type": "AutoencoderKL"},
        "from_pretrained_arguments": {"from_single_file": str(sd15 / "vae")},
    }
    error = session.fail(text_to_image(sd15, vae=vae))
    assert error.message == f"{str(sd15 / 'vae')!r} is the folder of a model, not a file"


def test_a_gguf_file_is_no_whole_pipeline(session: Session, sd15: Path) -> None:
    file = session.folder / "x.gguf"
    file.write_bytes(b"GGUF\3\0\0\0")
    message = session.fail(from_file(file, sd15)).message
    assert "is a GGUF file, which holds one model, not all of StableDiffusionPipeline" in message


def test_a_pipeline_without_a_model_says_so(session: Session) -> None:
    document = text_to_image("x")
    document["steps"][0]["pipeline"]["from_pretrained_arguments"] = {"torch_dtype": "torch.float16"}
    message = session.fail(document).message
    assert message == "StableDiffusionPipeline needs a 'model_name' or 'from_single_file'"
