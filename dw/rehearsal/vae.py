"""VAEs that preserve colours and structure although their weights are random."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, AutoencoderKLTemporalDecoder


def transparent_vae(**config: Any) -> AutoencoderKL:
    """A VAE whose latents, times its scaling factor, have a variance of about 1."""
    sizes = {
        "sample_size": 512,
        "block_out_channels": (16, 16, 16, 16),  # three halvings: a factor of 8
        "down_block_types": ("DownEncoderBlock2D",) * 4,
        "up_block_types": ("UpDecoderBlock2D",) * 4,
        "layers_per_block": 1,
        "norm_num_groups": 1,
    }
    vae = AutoencoderKL(**{**sizes, **config})
    let_images_through(vae)
    return vae.eval()


@torch.no_grad()
def let_images_through(vae: AutoencoderKL) -> None:
    """Make the first three latent channels red, green and blue at an eighth of the size.

    The random weights then only tint. So every image has the structure of its latents, none is one
    flat colour, and image-to-image runs show their input.
    """
    encoder, decoder = vae.encoder, vae.decoder
    for half in (encoder, decoder):
        _add_identity(half.conv_in)
        _add_identity(half.conv_out)
        # SiLU lies between them: it is nearly linear at 2, to which the bias shifts its input.
        half.conv_norm_out.bias += 2
        half.conv_out.bias -= 2 * half.conv_out.weight.sum((1, 2, 3))
    for name, layer in vae.named_modules():
        if name.endswith("conv2"):  # the last of a residual block, added to its input
            amplify(layer, 0.25)
        elif name.endswith("conv_shortcut"):
            _add_identity(layer)
    for block in encoder.down_blocks[:-1]:
        _add_identity(block.downsamplers[0].conv, blur=True)
    for block in decoder.up_blocks[:-1]:
        _add_identity(block.upsamplers[0].conv, blur=True)
    for conv in filter(None, (vae.quant_conv, vae.post_quant_conv)):
        _add_identity(conv)
    amplify(encoder.conv_out, 1 / vae.config.scaling_factor)
    amplify(decoder.conv_out, 0.4)  # a standard deviation of about 50 of 255
    moments = vae.quant_conv or encoder.conv_out
    moments.weight[vae.config.latent_channels :] = 0
    moments.bias[vae.config.latent_channels :] = -10  # ln(variance): encoding adds no noise


def _add_identity(conv: torch.nn.Conv2d, *, blur: bool = False) -> None:
    """Weaken the random weights and pass each channel through to the output of its number."""
    row = torch.tensor([1.0, 2.0, 1.0] if blur else [0.0, 4.0, 0.0]) / 4
    kernel = torch.outer(row, row) if conv.kernel_size == (3, 3) else torch.ones(1, 1)
    conv.weight *= 0.3
    for channel in range(min(conv.in_channels, conv.out_channels)):
        conv.weight[channel, channel] += kernel


@torch.no_grad()
def brighten(model: Any) -> None:
    """Give the images of a random VAE contrast; other models stay as they are.

    The deviation is 0.4, with white at 1 and black at -1.
    """
    name = type(model).__name__
    channels = model.config.get("z_dim") or model.config.get("latent_channels")
    if not name.startswith("AutoencoderKL") or name.startswith(_OTHERS) or channels is None:
        return
    convolutions = [m for m in model.decoder.modules() if isinstance(m, _CONVOLUTIONS)]
    is_video = any(isinstance(m, torch.nn.Conv3d) for m in convolutions)
    frames = {"num_frames": 1} if isinstance(model, AutoencoderKLTemporalDecoder) else {}
    latents = torch.randn(1, channels, *([2] if is_video and not frames else []), 8, 8)
    decoded = model.decode(latents, **frames).sample
    amplify(convolutions[-1], float(0.4 / decoded.std()))


_CONVOLUTIONS = (torch.nn.Conv2d, torch.nn.Conv3d)
_OTHERS = (
    "AutoencoderKLAllegro",  # decodes in tiles only
    "AutoencoderKLLTX2Audio",
    "AutoencoderKLMiniMaxH3",  # decodes by a transformer; also the one for audio
)


@torch.no_grad()
def amplify(layer: torch.nn.Conv2d | torch.nn.Conv3d | torch.nn.Linear, factor: float) -> None:
    layer.weight *= factor
    if layer.bias is not None:
        layer.bias *= factor
