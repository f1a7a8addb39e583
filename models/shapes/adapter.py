"""The LoRA `outline`: the same scenes with their objects as outlines."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict

from models.shapes.denoiser import Denoiser

FILE = "pytorch_lora_weights.safetensors"
_RANK = 4
_LAYERS = ("to_v", "to_out.0", "conv1", "conv2")


def add_adapter(model: Denoiser) -> None:
    """Freeze the model and add a trainable adapter to its U-Net."""
    model.requires_grad_(False)
    config = LoraConfig(r=_RANK, lora_alpha=_RANK, target_modules=list(_LAYERS))
    model.unet.add_adapter(config)


def save_adapter(model: Denoiser, folder: Path) -> None:
    layers = get_peft_model_state_dict(model.unet)
    StableDiffusionPipeline.save_lora_weights(
        folder,
        unet_lora_layers={name: layer.to(torch.float16) for name, layer in layers.items()},
        weight_name=FILE,
    )
