"""LoRAs in the names of kohya and of peft are what the same LoRA is in the names of diffusers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file

from dw.engine.models.lora_file import scaled
from dw.rehearsal import stand_in
from tests.engine.session import Json, Session, text_to_image

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ENDS = ("to_q", "to_v", "to_out.0", "ff.net.2", "q_proj", "out_proj", "fc1")
KOHYA = {
    "StableDiffusionPipeline": {"unet": "unet", "text_encoder": "te"},
    "StableDiffusionXLPipeline": {"unet": "unet", "text_encoder": "te1", "text_encoder_2": "te2"},
}
Layer = tuple[str, str, torch.Tensor, torch.Tensor]
"""Component, layer, and the weights down (rank, in) and up (out, rank)."""


def adapter(family: str, model: Path, ranks: tuple[int, ...]) -> Iterator[Layer]:
    pipeline = getattr(diffusers, family).from_pretrained(model)
    generator, rank = torch.Generator().manual_seed(3), cycle(ranks)
    for component in KOHYA[family]:
        for name, module in getattr(pipeline, component).named_modules():
            if isinstance(module, torch.nn.Linear) and name.endswith(ENDS):
                r = next(rank)
                down = torch.randn(r, module.in_features, generator=generator) * 0.2
                up = torch.randn(module.out_features, r, generator=generator) * 0.2
                yield component, name, down, up


def kohyas(family: str, adapter: list[Layer], alphas: tuple[float | None, ...]) -> Json:
    found = {}
    for (component, name, down, up), alpha in zip(adapter, cycle(alphas), strict=False):
        inner = (
            name if component == "unet" or name.startswith("text_model.") else f"text_model.{name}"
        )
        key = f"lora_{KOHYA[family][component]}_{inner.replace('.', '_')}"
        found |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up}
        found |= {} if alpha is None else {f"{key}.alpha": torch.tensor(alpha)}
    return found


def diffusers_own(adapter: list[Layer], alphas: tuple[float | None, ...]) -> Json:
    found = {}
    for (component, name, down, up), alpha in zip(adapter, cycle(alphas), strict=False):
        factor = 1.0 if alpha is None else alpha / len(down)
        found[f"{component}.{name}.lora_A.weight"] = down
        found[f"{component}.{name}.lora_B.weight"] = up * factor
    return found


def hashes(session: Session, family: str, model: Path, weights: Json, name: str) -> list[str]:
    path = session.folder / f"{name}.safetensors"
    save_file({key: weight.contiguous() for key, weight in weights.items()}, path)
    configuration = {"component_type": family}
    document = text_to_image(model, configuration=configuration, loras=[{"model_name": path.name}])
    return session.hashes(document)


@pytest.mark.parametrize("family", KOHYA)
@pytest.mark.parametrize(
    ("ranks", "alphas"),
    [
        ((4, 8, 2), (4.0, 8.0, 2.0)),  # each its rank, as resized ones have
        ((4,), (1.0, 16.0, 2.0)),
        ((4, 8), (1.0, None, 3.0)),
        ((4, 8), (4.0,)),  # of which diffusers itself is right
        ((4, 8), (None,)),
    ],
)
def test_each_layer_has_the_alpha_of_its_own(
    session: Session,
    family: str,
    ranks: tuple[int, ...],
    alphas: tuple[float | None, ...],
) -> None:
    model = stand_in(family, "")
    layers = list(adapter(family, model, ranks))
    theirs = hashes(session, family, model, kohyas(family, layers, alphas), "kohya")
    assert theirs == hashes(session, family, model, diffusers_own(layers, alphas), "diffusers")
    assert session.warnings == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_product_keeps_its_dtype_and_is_rounded_once(dtype: torch.dtype) -> None:
    weight = torch.randn(64, generator=torch.Generator().manual_seed(0)).to(dtype)
    product = scaled(weight, 0.3)
    assert product.dtype == dtype
    assert torch.equal(product, (weight.double() * 0.3).to(dtype)) or dtype == torch.float32
    assert scaled(weight, 1.0) is weight


def of_peft(folder: Path, layers: list[Layer], **config: Any) -> Path:
    folder.mkdir()
    found = {}
    for _, name, down, up in layers:
        found[f"base_model.model.{name}.lora_A.weight"] = down
        found[f"base_model.model.{name}.lora_B.weight"] = up
    save_file(found, folder / "adapter_model.safetensors")
    if config:
        (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", **config}))
    return folder


@pytest.mark.parametrize(
    ("config", "alphas"),
    [
        ({"r": 4, "lora_alpha": 8}, (8.0,)),
        ({"r": 4, "lora_alpha": 8, "use_rslora": True}, (16.0,)),
        ({"r": 4, "lora_alpha": 8, "alpha_pattern": {"to_q": 2}}, None),
        ({}, (None,)),
    ],
)
def test_what_peft_saves_is_found_with_its_alpha(
    session: Session, sd15: Path, config: Json, alphas: tuple[float | None, ...] | None
) -> None:
    family = "StableDiffusionPipeline"
    of_unet = [layer for layer in adapter(family, sd15, (4,)) if layer[0] == "unet"]
    if alphas is None:
        alphas = tuple(2.0 if name.endswith("to_q") else 8.0 for _, name, _, _ in of_unet)
    of_peft(session.folder / "peft", of_unet, **config)
    ours = session.hashes(text_to_image(sd15, loras=[{"model_name": "peft"}]))
    assert ours == hashes(session, family, sd15, diffusers_own(of_unet, alphas), "diffusers")


def test_another_config_of_peft_is_another_lora(session: Session, sd15: Path) -> None:
    of_unet = [each for each in adapter("StableDiffusionPipeline", sd15, (4,)) if each[0] == "unet"]
    folder = of_peft(session.folder / "peft", of_unet, r=4, lora_alpha=8)
    document = text_to_image(sd15, loras=[{"model_name": "peft"}])
    before = session.hashes(document)
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "lora_alpha": 4}')
    assert session.hashes(document) != before


def test_a_dora_in_kohyas_names_is_told_before_anything_loads(session: Session, sd15: Path) -> None:
    family = "StableDiffusionPipeline"
    weights = kohyas(family, list(adapter(family, sd15, (4,))), (4.0,))
    for key in [key for key in weights if key.endswith("lora_up.weight")]:
        weights[key.replace("lora_up.weight", "dora_scale")] = torch.ones(len(weights[key]), 1)
    save_file(weights, session.folder / "dora.safetensors")
    error = session.fail(text_to_image(sd15, loras=[{"model_name": "dora.safetensors"}]))
    assert error.message == (
        "the LoRA 'dora.safetensors' is a DoRA in the names of its trainer, whose magnitudes "
        "('dora_scale') diffusers leaves out"
    )
    assert session.engine.memory().components == ()
