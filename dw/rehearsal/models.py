"""The stand-in pipelines: the real classes, with a few hundred thousand weights.

What the components hand to each other is as in the real models (latent channels, a VAE factor of 8,
77 CLIP tokens, packed FLUX latents), so a workflow's wiring meets here what it will meet there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    PNDMScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    T5Config,
    T5EncoderModel,
)

from dw.rehearsal.tokenizers import clip_tokenizer, t5_tokenizer
from dw.rehearsal.vae import amplify, transparent_vae

WIDTH = 32
"""The hidden size of the text encoders."""

_TRAINED_WITH = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}


def sd15() -> StableDiffusionPipeline:
    unet = _unet(sample_size=64, cross_attention_dim=WIDTH)
    return StableDiffusionPipeline(
        vae=transparent_vae(latent_channels=4, scaling_factor=0.18215),
        text_encoder=_clip(CLIPTextModel, "quick_gelu"),
        tokenizer=clip_tokenizer(),
        unet=unet,
        scheduler=PNDMScheduler(**_TRAINED_WITH, skip_prk_steps=True, set_alpha_to_one=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def sdxl() -> StableDiffusionXLPipeline:
    time_ids, time_width = 6, 8  # original size, crop and target size, each (h, w)
    unet = _unet(
        sample_size=128,
        cross_attention_dim=2 * WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=time_width,
        projection_class_embeddings_input_dim=time_ids * time_width + WIDTH,
    )
    return StableDiffusionXLPipeline(
        vae=transparent_vae(latent_channels=4, scaling_factor=0.13025),
        text_encoder=_clip(CLIPTextModel, "quick_gelu"),
        text_encoder_2=_clip(CLIPTextModelWithProjection, "gelu"),
        tokenizer=clip_tokenizer(),
        tokenizer_2=clip_tokenizer(pad_token="!"),
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_TRAINED_WITH, timestep_spacing="leading"),
        add_watermarker=False,
    )


def flux() -> FluxPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=64,
        num_layers=1,
        num_single_layers=1,
        num_attention_heads=1,
        attention_head_dim=32,
        axes_dims_rope=(8, 12, 12),
        joint_attention_dim=WIDTH,
        pooled_projection_dim=WIDTH,
        guidance_embeds=True,
    )
    # so that another prompt is another picture, by its T5 tokens and by CLIP's pooled ones
    amplify(transformer.context_embedder, 8)
    amplify(transformer.time_text_embed.text_embedder.linear_2, 8)
    return FluxPipeline(
        vae=transparent_vae(
            latent_channels=16,
            scaling_factor=0.3611,
            shift_factor=0.1159,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=_clip(CLIPTextModel, "quick_gelu"),
        tokenizer=clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=t5_tokenizer(),
        transformer=transformer.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
    )


BUILDERS: dict[str, Callable[[], Any]] = {"sd15": sd15, "sdxl": sdxl, "flux": flux}


def _unet(**config: Any) -> UNet2DConditionModel:
    """Attention is at a quarter of the latents' size only, where 1024x1024 pixels cost little."""
    unet = UNet2DConditionModel(
        block_out_channels=(16, 16, 32),
        down_block_types=("DownBlock2D", "DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        attention_head_dim=2,
        norm_num_groups=4,
        **config,
    )
    # What the prompt says is a whisper in a random network: raised, so that another prompt is seen.
    for name, layer in unet.named_modules():
        if name.endswith(("attn2.to_out.0", "upsamplers.0.conv")):
            amplify(layer, 4)
    amplify(unet.conv_out, 2)
    return unet.eval()


def _clip(model: type[Any], activation: str) -> Any:
    ids = clip_tokenizer()
    config = CLIPTextConfig(
        vocab_size=len(ids),
        hidden_size=WIDTH,
        projection_dim=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        hidden_act=activation,
        bos_token_id=ids.bos_token_id,
        eos_token_id=ids.eos_token_id,
        pad_token_id=ids.pad_token_id,
    )
    encoder = model(config)
    torch.nn.init.normal_(encoder.get_input_embeddings().weight)
    return encoder.eval()


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=len(t5_tokenizer()),
        d_model=WIDTH,
        d_kv=8,
        d_ff=2 * WIDTH,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        use_cache=False,
        tie_word_embeddings=False,
    )
    return T5EncoderModel(config).eval()
