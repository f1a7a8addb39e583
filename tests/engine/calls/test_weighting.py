"""Prompts with weights on a tiny FLUX.1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from dw.engine.calls.weighting import weighted
from dw.rehearsal import stand_in_lora
from tests.engine.session import Json, Session, merged, on_a_gpu, text_to_image

PLAIN = "a cat on a red roof at night"


def drawn(model: Path, prompt: Any, *, weighting: bool = True, **changes: Any) -> Json:
    configuration = {"component_type": "FluxPipeline", "prompt_weighting": weighting}
    basis = {"configuration": configuration, "arguments": {"prompt": prompt}}
    return text_to_image(model, **merged(basis, changes))


@pytest.fixture
def pipeline(warm: Session, flux: Path) -> Any:
    """FLUX.1 with its prompt encoders, wired by hand."""
    from diffusers import DiffusionPipeline

    return DiffusionPipeline.from_pretrained(flux)


@pytest.mark.parametrize(
    "prompt",
    [
        PLAIN,
        "a cat on a (red:1.0) roof at night",
        "a [(cat)] on a red roof at night",
        "(a cat on a red roof at night:1)",
    ],
)
def test_weights_of_one_are_no_weights(warm: Session, flux: Path, prompt: str) -> None:
    assert warm.hashes(drawn(flux, prompt)) == warm.hashes(drawn(flux, PLAIN, weighting=False))


def test_a_weight_is_seen(warm: Session, flux: Path) -> None:
    prompts = [PLAIN, "a cat on a (red:1.5) roof at night", "a cat on a (red:0.5) roof at night"]
    assert len({warm.hashes(drawn(flux, prompt))[0] for prompt in prompts}) == 3


def test_without_the_key_brackets_are_text(warm: Session, flux: Path) -> None:
    texts = ["a (cat:1.5)", "a cat"]
    images = [warm.hashes(drawn(flux, text, weighting=False)) for text in texts]
    assert images[0] != images[1]
    assert warm.hashes(drawn(flux, texts[0])) not in images


@pytest.mark.parametrize(
    "arguments",
    [
        {"num_images_per_prompt": 2},
        {"prompt": ["(a cat:1)", "a dog"]},
        {"prompt_2": "(a dog:1)", "max_sequence_length": 64},
        {"negative_prompt": "a dog", "true_cfg_scale": 3.0},
        {"negative_prompt": "(a dog:1)", "true_cfg_scale": 3.0, "num_images_per_prompt": 2},
        {"negative_prompt": "a dog"},
    ],
)
def test_the_other_arguments_mean_what_they_did(warm: Session, flux: Path, arguments: Json) -> None:
    def stripped(value: Any) -> Any:
        if isinstance(value, list):
            return [stripped(item) for item in value]
        return value.removeprefix("(").removesuffix(":1)") if isinstance(value, str) else value

    given = {"prompt": "(a cat:1)", **arguments}
    plain = {name: stripped(value) for name, value in given.items()}
    ours = warm.hashes(drawn(flux, "", arguments=given))
    assert ours == warm.hashes(drawn(flux, "", weighting=False, arguments=plain))


def test_t5_multiplies_each_token(pipeline: Any) -> None:
    with torch.inference_mode():
        plain, more = (
            weighted(pipeline, {"prompt": f"(a:1) (cat:{weight}) sleeps"})["prompt_embeds"]
            for weight in (1, 2)
        )
    ratios = (more / plain).nan_to_num(1).mean(dim=-1)[0]
    assert plain.shape == (1, 512, plain.shape[-1])
    assert set(ratios.tolist()) == {1.0, 2.0}
    assert ratios[-1] == 1  # padding


def test_clip_reads_a_long_prompt_in_chunks(pipeline: Any) -> None:
    def pooled(prompt: str) -> torch.Tensor:
        with torch.inference_mode():
            return weighted(pipeline, {"prompt": prompt})["pooled_prompt_embeds"][0]

    first, second = "(a cat:1)", "(a dog:1)"
    mean = torch.stack([pooled(first), pooled(second)]).mean(dim=0)
    assert torch.allclose(pooled(f"{first} BREAK {second}"), mean)
    words = "(cat:1) " + "dog " * 200
    assert pooled(words).isfinite().all()
    assert not torch.allclose(pooled(words), pooled(f"{words} bird"))


def test_a_lora_on_the_text_encoder_counts_as_the_call_says(warm: Session, flux: Path) -> None:
    loras = [{"model_name": str(stand_in_lora(flux, "a-style", None)), "scale": 0.7}]
    scaled = {"joint_attention_kwargs": {"scale": 0.5}}
    ours = warm.hashes(drawn(flux, f"({PLAIN}:1)", loras=loras, arguments=scaled))
    plain = drawn(flux, PLAIN, weighting=False, loras=loras, arguments=scaled)
    assert ours == warm.hashes(plain)


def test_offloaded_encoders_are_used_where_they_run(session: Session, flux: Path) -> None:
    prompt = "a (cat:1.5)"
    here = session.hashes(drawn(flux, prompt))
    document = drawn(flux, prompt, configuration={"offload": "model"})
    assert on_a_gpu(session).hashes(document) == here
