"""The autoencoder: images of 128x128 as latents of 4x32x32, and back."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from random import Random

import numpy as np
import torch
from diffusers import AutoencoderKL

from dw.rehearsal.vae import let_images_through
from models.shapes.drawing import draw
from models.shapes.fitting import LANES, Lane
from models.shapes.layout import SIDE
from models.shapes.scene import random_scene

_KL = 5e-4
"""Weight of the Kullback-Leibler divergence of a latent number, against the error of a pixel."""
_OUTLINES = 0.25
"""The share of images with outlines, for the adapter."""
_NOISE = 0.03
"""Standard deviation of the noise on latents that are sampled; their own is 1."""
_EDGES = 0.5
"""Standard deviation of the latents of edges: noise hides them first, so that denoising settles
them last."""


def new_autoencoder() -> AutoencoderKL:
    """It starts with weights that pass colours through, most of what it has to learn."""
    channels = (16, 32, 32)
    vae = AutoencoderKL(
        sample_size=SIDE,
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=1,  # more would hide how bright the ground is
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )
    let_images_through(vae)
    return vae


def reconstruction(
    vae: AutoencoderKL, *, batch: int, side: int = SIDE, noise: float = 0.0
) -> Callable[[Lane], torch.Tensor]:
    """The reconstruction loss of crops of fresh images.

    `noise` is the standard deviation of further noise on their latents, because the latents of a
    denoiser are not exact.
    """

    def loss(lane: Lane) -> torch.Tensor:
        parts = torch.stack([_any_part(lane.random, side) for _ in range(batch // LANES)])
        with torch.autocast("cpu", torch.bfloat16):
            latents = vae.encode(parts).latent_dist
            sample = latents.sample(lane.generator)
            sample = sample + noise * torch.randn(sample.shape, generator=lane.generator)
            error = vae.decode(sample).sample.float() - parts
        kl = latents.kl().sum() / latents.mean.numel()
        return error.abs().mean() + error.square().mean() + _KL * kl

    return loss


def keep_latents(vae: AutoencoderKL) -> None:
    """Freeze the encoder: only the decoder is trained from now on."""
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)


def tensor(image: object) -> torch.Tensor:
    """An image as (3, h, w) from -1 to 1."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 127.5 - 1


@torch.no_grad()
def whiten(vae: AutoencoderKL, images: torch.Tensor) -> None:
    """Give the latents of `images` zero mean and no correlation: noise then hides all equally.

    The change is folded into the 1x1 convolutions between encoder, latents and decoder. The
    variance of sampled latents becomes a small constant.
    """
    latents = vae.encode(images).latent_dist.mean.movedim(1, -1).flatten(0, -2)
    mean, channels = latents.mean(0), latents.shape[1]
    variances, axes = torch.linalg.eigh(latents.sub(mean).T.cov())
    scales = variances.sqrt()
    scales[0] /= _EDGES  # of the axis that varies least
    forth = axes.T / scales[:, None]  # (new, old)
    back = axes * scales  # (old, new)

    inward, outward = vae.quant_conv, vae.post_quant_conv
    kernel = inward.weight[:channels, :, 0, 0]
    inward.bias[:channels] = forth @ (inward.bias[:channels] - mean)
    inward.weight[:channels] = (forth @ kernel)[..., None, None]
    inward.bias[channels:], inward.weight[channels:] = 2 * log(_NOISE), 0
    kernel = outward.weight[:, :, 0, 0]
    outward.bias += kernel @ mean
    outward.weight[:] = (kernel @ back)[..., None, None]


def any_images(random: Random, count: int) -> torch.Tensor:
    """(count, 3, 128, 128)"""
    return torch.stack([_any_part(random, SIDE) for _ in range(count)])


def _any_part(random: Random, side: int) -> torch.Tensor:
    """A square crop of an image that shows part of an object."""
    scene, placed = random_scene(random)
    image = draw(scene, placed, random, outline=random.random() < _OUTLINES)
    around = random.choice(placed)
    left, top = (
        min(SIDE - side, max(0, round(random.gauss(at - side / 2, side / 4))))
        for at in (around.x, around.y)
    )
    return tensor(image.crop((left, top, left + side, top + side)))
