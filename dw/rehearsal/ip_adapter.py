"""IP-Adapter stand-ins: random projections of image embeddings into a stand-in's attention."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel, UNet2DConditionModel
from safetensors.torch import save_file

from dw.errors import WorkflowError

TOKENS = 4
"""Per image, as in the plain adapters of all models."""


def save_ip_adapter(pipeline: Path, image_encoder: Path, path: Path) -> None:
    """Write an adapter for the pipeline and the encoder in these folders, in the published layout.

    Raises WorkflowError for a pipeline whose denoiser is of another kind.
    """
    embedding = json.loads((image_encoder / "config.json").read_text())["projection_dim"]
    if (pipeline / "unet").is_dir():
        model: Any = UNet2DConditionModel.from_pretrained(pipeline / "unet")
        width = model.config.cross_attention_dim
        weights = {**_projection("image_proj", embedding, width), **dict(_unet(model, width))}
    elif _is_flux(pipeline):
        model = FluxTransformer2DModel.from_pretrained(pipeline / "transformer")
        width = model.config.joint_attention_dim
        weights = {
            **_projection("ip_adapter_proj_model", embedding, width),
            **dict(_flux(model, width)),
        }
    else:
        raise WorkflowError("an IP-Adapter can be rehearsed on UNets and on FLUX only")
    save_file(weights, path)


def _projection(name: str, embedding: int, width: int) -> dict[str, torch.Tensor]:
    return {
        f"{name}.proj.weight": torch.randn(TOKENS * width, embedding),
        f"{name}.proj.bias": torch.zeros(TOKENS * width),
        f"{name}.norm.weight": torch.ones(width),
        f"{name}.norm.bias": torch.zeros(width),
    }


def _unet(unet: UNet2DConditionModel, width: int) -> Iterator[tuple[str, torch.Tensor]]:
    """Keys and values (out, width) of each cross attention; these have odd numbers."""
    crossing = [name for name in unet.attn_processors if ".attn2." in name]
    for number, name in enumerate(crossing):
        attention = unet.get_submodule(name.removesuffix(".processor"))
        for letter in "kv":
            out = attention.to_k.out_features
            key = f"ip_adapter.{2 * number + 1}.to_{letter}_ip.weight"
            yield key, torch.randn(out, width) * width**-0.5


def _flux(model: FluxTransformer2DModel, width: int) -> Iterator[tuple[str, torch.Tensor]]:
    inner = model.inner_dim
    for number in range(len(model.transformer_blocks)):
        for letter in "kv":
            name = f"double_blocks.{number}.processor.ip_adapter_double_stream_{letter}_proj"
            yield f"{name}.weight", torch.randn(inner, width) * width**-0.5
            yield f"{name}.bias", torch.zeros(inner)


def _is_flux(pipeline: Path) -> bool:
    config = pipeline / "transformer" / "config.json"
    return config.is_file() and json.loads(config.read_text())["_class_name"] == (
        FluxTransformer2DModel.__name__
    )
