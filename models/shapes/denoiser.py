"""The denoiser and its text encoder, trained together on latents of scenes and their prompts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from statistics import fmean
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from models.shapes.autoencoder import tensor
from models.shapes.drawing import draw
from models.shapes.fitting import LANES, Lane
from models.shapes.phrases import phrase
from models.shapes.scene import SIZES, Scene, random_scene
from models.shapes.tokens import tokens

WIDTH = 96
"""Of the embedding of a token."""
_UNSAID = 0.1
"""The share of empty prompts, for classifier-free guidance."""
_MIDDLE, _SPREAD = 0.4, 1.2
"""Of the noise levels (logit-normal): mostly those at which positions and shapes are settled."""
_GAIN = 5.0
"""How fast the image error of a trained model falls with the ratio of signal to noise."""
_AT_ONCE = 32


class Denoiser(torch.nn.Module):
    """The trainable parts: the text encoder and the U-Net that it guides."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = _new_text_encoder(tokenizer)
        self.unet = _new_unet()
        # With so few tokens on a CPU, the backward pass of PyTorch's fused attention took a quarter
        # of a step (2.13); with the plain one a step is a fifth shorter.
        self.unet.set_attn_processor(AttnProcessor())

    def forward(self, noisy: torch.Tensor, times: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """Velocities (batch, 4, 32, 32) of noisy latents at `times` (batch,) for token `ids`."""
        words = self.text_encoder(ids).last_hidden_state
        return self.unet(noisy, times, words).sample


@dataclass(frozen=True)
class Examples:
    """Scenes, and the latents (n, 4, 32, 32) of one image of each."""

    scenes: Sequence[Scene]
    latents: torch.Tensor


def new_scheduler() -> DDIMScheduler:
    """Zero terminal SNR: the last time step is pure noise, as at the start of sampling."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,  # otherwise the pipeline treats this as an old configuration
    )


def examples(vae: AutoencoderKL, *, seed: int, count: int, outline: bool = False) -> Examples:
    lanes = [Lane.seeded(seed * LANES + number) for number in range(LANES)]
    with ThreadPoolExecutor(LANES) as threads, tqdm(total=count, desc="examples") as bar:

        def some(lane: Lane) -> Examples:
            return _examples(vae, lane.random, count // LANES, bar, outline=outline)

        parts = list(threads.map(some, lanes))
    scenes = [scene for part in parts for scene in part.scenes]
    return Examples(scenes, torch.cat([part.latents for part in parts]))


@torch.no_grad()
def _examples(
    vae: AutoencoderKL, random: Random, count: int, bar: tqdm[Any], *, outline: bool
) -> Examples:
    scenes: list[Scene] = []
    latents = []
    for start in range(0, count, _AT_ONCE):
        images = []
        for _ in range(min(_AT_ONCE, count - start)):
            scene, placed = random_scene(random)
            scenes.append(scene)
            images.append(tensor(draw(scene, placed, random, outline=outline)))
        latents.append(vae.encode(torch.stack(images)).latent_dist.mean)
        bar.update(len(images))
    return Examples(scenes, torch.cat(latents))


def denoising(
    model: Denoiser, tokenizer: CLIPTokenizer, data: Examples, *, batch: int
) -> Callable[[Lane], torch.Tensor]:
    """The loss of random examples: the error of the images that the model predicts.

    The error of a velocity, times the noise's share of the variance, is that of the image. For a
    trained model it is about 1 / (1 + 5 r) of that at pure noise, with r the ratio of signal to
    noise as amplitudes; its inverse as a weight makes all levels count equally. Without it, the
    positions, which the prompt leaves open, would dominate over the quality of the shapes.
    Small objects count as much as large ones, though they fill fewer pixels.
    """
    scheduler = new_scheduler()
    last = scheduler.config.num_train_timesteps - 1
    count = batch // LANES
    tokens(tokenizer, [""])  # sets its padding, which is not thread-safe

    def loss(lane: Lane) -> torch.Tensor:
        chosen = lane.random.sample(range(len(data.scenes)), count)
        ids = tokens(tokenizer, [_words(data.scenes[index], lane.random) for index in chosen])
        latents = data.latents[chosen]
        noise = torch.randn(latents.shape, generator=lane.generator)
        level = torch.sigmoid(_MIDDLE + _SPREAD * torch.randn(count, generator=lane.generator))
        times = (level * scheduler.config.num_train_timesteps).long().clamp(max=last)
        noisy = scheduler.add_noise(latents, noise, times)
        with torch.autocast("cpu", torch.bfloat16):
            velocity = model(noisy, times, ids).float()
        error = (velocity - scheduler.get_velocity(latents, noise, times)).square().mean((1, 2, 3))
        signal = scheduler.alphas_cumprod[times]
        of_level = 1 + _GAIN * (signal / (1 - signal)).sqrt()
        of_scene = torch.tensor([_weight(data.scenes[index]) for index in chosen])
        return (error * (1 - signal) * of_level * of_scene).mean()

    return loss


def _weight(scene: Scene) -> float:
    """1 if all objects are of medium size. The prompt gives the sizes, so the weight does not
    change the optimum for a prompt."""
    return fmean(SIZES["medium"] / SIZES[group.size] for group in scene.groups)


def _words(scene: Scene, random: Random) -> str:
    return "" if random.random() < _UNSAID else phrase(scene, random)


def _new_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    config = CLIPTextConfig(
        attn_implementation="eager",  # as for the U-Net
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def _new_unet() -> UNet2DConditionModel:
    """Cross attention at 16x16 and 8x8, where a cell covers 8x8 and 16x16 pixels, self attention at
    8x8 only. All layers also get an embedding of the whole prompt, added to that of the time step.
    """
    return UNet2DConditionModel(
        sample_size=32,
        block_out_channels=(32, 64, 80),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        only_cross_attention=(False, True, False),
        layers_per_block=1,
        cross_attention_dim=WIDTH,
        attention_head_dim=4,
        norm_num_groups=8,
        addition_embed_type="text",
        addition_embed_type_num_heads=4,
    )
