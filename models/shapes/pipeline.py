"""The pipeline: the trained parts in the folder of a stock diffusers pipeline."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from transformers import CLIPTokenizer

from models.shapes.denoiser import Denoiser, new_scheduler


def new_pipeline(
    vae: AutoencoderKL, tokenizer: CLIPTokenizer, model: Denoiser
) -> StableDiffusionPipeline:
    pipeline = StableDiffusionPipeline(
        vae=vae.eval(),
        text_encoder=model.text_encoder.eval(),
        tokenizer=tokenizer,
        unet=model.unet.eval(),
        scheduler=new_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def save_pipeline(pipeline: StableDiffusionPipeline, folder: Path) -> None:
    """Save the U-Net and the autoencoder as float16, which diffusers loads as float32. The text
    encoder stays float32: transformers keeps the type of the file."""
    for part in (pipeline.unet, pipeline.vae):
        part.to(torch.float16)
    pipeline.save_pretrained(folder)
    for part in (pipeline.unet, pipeline.vae):
        part.to(torch.float32)
