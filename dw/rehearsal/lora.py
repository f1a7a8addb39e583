"""LoRA stand-ins: random adapters for the attention layers of a stand-in's denoiser."""

from __future__ import annotations

import json
from pathlib import Path

import diffusers
import torch
from safetensors import safe_open

_RANK = 4
_LAYERS = ("to_q", "to_k", "to_v", "to_out.0")


def save_lora(stand_in: Path, folder: Path, file_name: str) -> None:
    """Write an adapter for the pipeline in the folder `stand_in`, as its class writes LoRAs."""
    index = json.loads((stand_in / "model_index.json").read_text(encoding="utf-8"))
    pipeline = getattr(diffusers, index["_class_name"])
    denoiser = next(name for name in ("unet", "transformer", "transformer_2") if name in index)
    weights = stand_in / denoiser / "diffusion_pytorch_model.safetensors"
    # For each attention projection (out, in) the pair A (rank, in) and B (out, rank). Their product
    # has a standard deviation of in**-0.5, 1.7 times that of torch's initial weights.
    adapter = {}
    with safe_open(weights, framework="pt") as file:
        for key in sorted(file.keys()):
            layer = key.removesuffix(".weight")
            if layer.endswith(_LAYERS):
                n_out, n_in = file.get_slice(key).get_shape()
                adapter[f"{layer}.lora_A.weight"] = torch.randn(_RANK, n_in) * n_in**-0.5
                adapter[f"{layer}.lora_B.weight"] = torch.randn(n_out, _RANK) * _RANK**-0.5
    pipeline.save_lora_weights(
        folder, **{f"{denoiser}_lora_layers": adapter}, weight_name=file_name
    )
