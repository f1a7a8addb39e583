"""Arguments of loaders that reach them, whatever they are made of."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from diffusers.models import model_loading_utils
from safetensors import torch as safetensors

from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.spec import ComponentSpec, loader_options
from dw.rehearsal import stand_in_model
from tests.engine.models.test_single_file import checkpoint, from_file
from tests.engine.models.test_transformers_models import step, writer
from tests.engine.session import Json, Session, text_to_image, workflow

__all__ = ["checkpoint"]


@pytest.fixture
def mapped(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are mapped into memory from now on."""
    names: list[str] = []
    load_file = safetensors.load_file

    def noting(file: Any, *args: Any, **options: Any) -> Any:
        names.append(Path(file).name)
        return load_file(file, *args, **options)

    monkeypatch.setattr(model_loading_utils.safetensors.torch, "load_file", noting)
    return names


# diffusers leaves the file to the collector.
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@unclosed
def test_files_are_read_instead_of_mapped_where_the_workflow_says_so(
    session: Session, sd15: Path, mapped: list[str]
) -> None:
    plain = session.hashes(text_to_image(sd15))
    assert mapped
    mapped.clear()
    unmapped = text_to_image(sd15, from_pretrained_arguments={"disable_mmap": True})
    assert session.hashes(unmapped) == plain
    assert session.loaded == ("gen.text_encoder", "gen.unet", "gen.vae")
    assert mapped == []


@unclosed
def test_so_is_a_checkpoint_in_one_file(
    session: Session, checkpoint: Path, sd15: Path, mapped: list[str]
) -> None:
    plain = session.hashes(from_file(checkpoint, sd15))
    assert checkpoint.name in mapped
    mapped.clear()
    unmapped = from_file(checkpoint, sd15, from_pretrained_arguments={"disable_mmap": True})
    assert session.hashes(unmapped) == plain
    assert checkpoint.name not in mapped


def reader(model: Path, **loads: Any) -> Json:
    """A workflow with a model of transformers that goes on with a text."""
    source = {"model_name": str(model)}
    text = {"text": "a cat", "return_tensors": "pt"}
    call = {"input_ids": "previous_result:read.input_ids", "max_new_tokens": 2}
    cls, generate = "transformers.AutoModelForCausalLM", {"generate": True}
    return workflow(
        step("read", "transformers.AutoTokenizer", source, text),
        step("write", cls, {**source, **loads}, call, configuration=generate),
    )


def test_options_of_transformers_may_be_nested(session: Session, stand_ins: Path) -> None:
    language = stand_in_model("language")
    options: dict[str, Any] = {"eos_token_id": [1, 2], "label2id": {"cat": 1}}
    session.run(reader(language, **options))
    assert session.loaded == ("read.AutoTokenizer", "write.AutoModelForCausalLM")
    session.run(reader(language, **options))
    assert session.loaded == ()
    session.run(reader(language, eos_token_id=[1, 3], label2id={"cat": 1}))
    assert session.loaded == ("write.AutoModelForCausalLM",)


def test_a_variant_of_transformers_is_loaded_or_told(
    session: Session, stand_ins: Path, tmp_path: Path
) -> None:
    language = Path(shutil.copytree(stand_in_model("language"), tmp_path / "language"))
    error = session.fail(reader(language, variant="fp16"))
    assert error.message == f"{str(language)!r} has no variant 'fp16'; its files have none"
    file = next(language.glob("model*.safetensors"))
    file.rename(language / "model.fp16.safetensors")
    session.run(reader(language, variant="fp16"))
    assert "write.AutoModelForCausalLM" in session.loaded
    answer = writer(language)
    answer["pipeline"]["from_pretrained_arguments"]["variant"] = "fp16"
    session.run(workflow(answer))
    assert session.loaded == ("write.pipeline",)


def test_nested_options_are_compared_by_what_they_say() -> None:
    def spec(value: Any) -> ComponentSpec:
        options = loader_options({"a": value})
        return ComponentSpec(object, Fingerprint(""), None, None, options=options)

    assert spec({"b": [1], "c": 2}) == spec({"c": 2, "b": [1]})
    assert hash(spec({"b": [1]})) == hash(spec({"b": [1]}))
    assert spec({"b": [1]}) != spec({"b": [2]})
    assert spec({"b": [1]}).arguments == {"a": {"b": [1]}}
