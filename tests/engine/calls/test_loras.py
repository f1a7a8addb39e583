from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dw.errors import RunFailed
from dw.events import Loading
from dw.rehearsal import stand_in_lora
from tests.engine.session import CancelsAt, Json, Session, generate, text_to_image, workflow


def lora(name: str, scale: float | str = 1.0) -> Json:
    return {"model_name": name, "weight_name": "x.safetensors", "scale": scale}


def with_loras(*loras: Json, **changes: Any) -> Json:
    return text_to_image("any/model", loras=list(loras), **changes)


@pytest.fixture(scope="module")
def plain(warm: Session) -> list[str]:
    return warm.hashes(with_loras(), rehearse=True)


@pytest.fixture(scope="module")
def first(warm: Session) -> list[str]:
    return warm.hashes(with_loras(lora("first")), rehearse=True)


def test_a_lora_changes_the_image_and_loads_no_component(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    assert first != plain
    warm.run(with_loras(lora("first")), rehearse=True)
    assert warm.loaded == ()


def test_without_it_the_image_is_the_plain_one_again(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    assert warm.hashes(with_loras(), rehearse=True) == plain
    assert warm.hashes(with_loras(lora("first")), rehearse=True) == first


def test_the_scale_counts(warm: Session, plain: list[str], first: list[str]) -> None:
    assert warm.hashes(with_loras(lora("first", 0.0)), rehearse=True) == plain
    assert warm.hashes(with_loras(lora("first", 0.5)), rehearse=True) not in (plain, first)
    assert warm.hashes(with_loras(lora("first", 1.0)), rehearse=True) == first
    assert warm.hashes(with_loras(lora("first", "1.0")), rehearse=True) == first


def test_two_together_differ_from_each_and_do_not_depend_on_what_was_there(
    warm: Session, first: list[str]
) -> None:
    both = with_loras(lora("first"), lora("second"))
    cold = warm.hashes(both, rehearse=True)
    second = warm.hashes(with_loras(lora("second")), rehearse=True)
    assert len({*cold, *first, *second}) == 3
    assert warm.hashes(both, rehearse=True) == cold


@pytest.mark.parametrize("step", [1, 3])
def test_after_a_cancel_the_image_is_the_same(warm: Session, first: list[str], step: int) -> None:
    scaled = {"arguments": {"cross_attention_kwargs": {"scale": 0.25}}}
    warm.cancel(with_loras(lora("first"), **scaled), CancelsAt(step), rehearse=True)
    assert warm.hashes(with_loras(lora("first")), rehearse=True) == first


def test_a_step_without_loras_is_not_touched_by_its_neighbour(
    warm: Session, plain: list[str], first: list[str]
) -> None:
    second = {**generate("any/model"), "name": "plain"}
    images = warm.hashes(
        workflow(generate("any/model", loras=[lora("first")]), second), rehearse=True
    )
    assert images == [*first, *plain]


def test_a_file_of_ones_own_is_found_by_folder_and_name(session: Session, sd15: Path) -> None:
    path = stand_in_lora(sd15, "own", None)
    named = {"model_name": str(path.parent), "weight_name": path.name}
    assert session.hashes(text_to_image(sd15, loras=[named])) != session.hashes(text_to_image(sd15))
    assert session.hashes(text_to_image(sd15, loras=[{"model_name": str(path)}]))


def test_a_lora_that_does_not_fit_is_an_error_and_leaves_the_model_plain(
    warm: Session, sd15: Path, flux: Path, plain: list[str]
) -> None:
    alien = {"model_name": str(stand_in_lora(flux, "alien", None))}
    error = warm.fail(text_to_image(sd15, loras=[alien]))
    assert isinstance(error, RunFailed)
    assert warm.hashes(text_to_image(sd15)) == plain


def test_a_missing_file_is_named(session: Session, sd15: Path) -> None:
    (session.folder / "loras").mkdir()
    missing = {"model_name": "loras", "weight_name": "no.safetensors"}
    assert "'no.safetensors'" in session.fail(text_to_image(sd15, loras=[missing])).message


def test_a_pickle_needs_trust(session: Session, sd15: Path) -> None:
    torch.save({"unet.lora.weight": torch.zeros(2)}, session.folder / "lora.bin")
    pickled = text_to_image(sd15, loras=[{"model_name": "lora.bin"}])
    assert "are pickles" in session.fail(pickled).message
    assert session.seen(Loading) == []
    assert "are pickles" not in session.fail(pickled, trust=True).message


def test_the_same_lora_twice_adds_up(warm: Session) -> None:
    twice = warm.hashes(with_loras(lora("first", 0.5), lora("first", 0.25)), rehearse=True)
    assert twice == warm.hashes(with_loras(lora("first", 0.75)), rehearse=True)


# ------------------------------------------------------------------ weights without a place


@pytest.fixture
def own(sd15: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(stand_in_lora(sd15, "own", None), tmp_path / "own.safetensors"))


def one_of_another_layer(weights: dict[str, torch.Tensor]) -> None:
    for part in "AB":
        layer = (
            f"unet.down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q.lora_{part}.weight"
        )
        weights[layer.replace("blocks.0", "blocks.7")] = weights[layer].clone()


def one_of_another_component(weights: dict[str, torch.Tensor]) -> None:
    weights["text_encoder_2.layers.0.lora_A.weight"] = torch.zeros(4, 4)
    weights["text_encoder_2.layers.0.lora_B.weight"] = torch.zeros(4, 4)


def one_of_another_text_encoder(weights: dict[str, torch.Tensor]) -> None:
    for number in (0, 7):
        layer = f"text_encoder.encoder.layers.{number}.self_attn.q_proj"
        weights[f"{layer}.lora_A.weight"] = torch.zeros(4, 32)
        weights[f"{layer}.lora_B.weight"] = torch.zeros(32, 4)


@pytest.mark.parametrize(
    "edit", [one_of_another_layer, one_of_another_component, one_of_another_text_encoder]
)
def test_weights_that_hit_nothing_are_counted_and_named(
    session: Session, sd15: Path, own: Path, edit: Any
) -> None:
    plain = session.hashes(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    weights = load_file(own)
    edit(weights)
    save_file(weights, own)
    error = session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    assert error.message.startswith(
        f"2 of the {len(weights)} weights of the LoRA {str(own)!r} have no place in "
        "StableDiffusionPipeline: "
    )
    assert ("7" if edit is not one_of_another_component else "text_encoder_2") in error.message
    allowed = {"model_name": str(own), "allow_unused_weights": True}
    assert session.hashes(text_to_image(sd15, loras=[allowed])) == plain
    session.fail(text_to_image(sd15, loras=[{**allowed, "allow_unused_weights": False}]))


def test_half_of_a_lora_is_taken_off_again(session: Session, sd15: Path, own: Path) -> None:
    """The UNet has its part already when that of the text encoder does not fit."""
    plain = session.hashes(text_to_image(sd15))
    weights = load_file(own)
    weights["text_encoder.encoder.layers.0.self_attn.q_proj.lora_A.weight"] = torch.ones(4, 7)
    weights["text_encoder.encoder.layers.0.self_attn.q_proj.lora_B.weight"] = torch.ones(7, 4)
    save_file(weights, own)
    [unet] = [c.value for c in session.engine._cache.components() if c.label == "gen.unet"]
    session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))
    assert not hasattr(unet, "peft_config")
    assert session.hashes(text_to_image(sd15)) == plain
    assert session.loaded == ()


def test_a_lora_that_lost_its_leave_fails_warm_as_it_does_cold(
    session: Session, sd15: Path, own: Path
) -> None:
    weights = load_file(own)
    one_of_another_layer(weights)
    save_file(weights, own)
    allowed = {"model_name": str(own), "allow_unused_weights": True}
    session.run(text_to_image(sd15, loras=[allowed]))
    session.fail(text_to_image(sd15, loras=[{"model_name": str(own)}]))
