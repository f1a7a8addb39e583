"""Tiny configurations of model classes: their defaults, with small widths and depths.

The defaults of a class in diffusers are those of a published model: latent channels, patch sizes,
compression ratios. They stay, so that stand-ins fit together as the real models do. Widths and
depths have the same few names in all models, and those get small values here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from transformers import (
    AutoConfig,
    CLIPVisionConfig,
    LlamaConfig,
    MistralConfig,
    PixtralVisionConfig,
    PreTrainedConfig,
    SiglipVisionConfig,
)

from dw.rehearsal.family import WIDTH, Values

HEAD_WIDTH = WIDTH // 2
CHANNELS = 16
"""Of each level of a convolutional network."""

_NAMES = {
    1: """
        num_single_layers num_refiner_layers n_refiner_layers num_mmdit_layers
        num_single_dit_layers num_text_blocks layers_per_block motion_layers_per_block
        num_res_blocks num_layerwise_text_blocks num_refiner_text_blocks
        video_connector_num_layers audio_connector_num_layers num_blocks_per_stage
        motion_mid_block_layers_per_block
    """,
    2: """
        num_layers n_layers depth dit_depth num_visual_blocks mmdit_layers num_hidden_layers
        num_decoder_layers num_attention_heads n_heads n_kv_heads num_heads num_kv_heads
        num_key_value_heads num_cross_attention_heads num_key_value_attention_heads dit_heads
        decoder_num_layers decoder_num_attention_heads
        motion_num_attention_heads video_connector_num_attention_heads
        audio_connector_num_attention_heads audio_num_attention_heads text_num_attention_heads
        text_num_key_value_heads
    """,
    HEAD_WIDTH: """
        attention_head_dim head_dim cross_attention_head_dim d_kv dim_heads linear_head_dim
        video_connector_attention_head_dim audio_connector_attention_head_dim
        audio_attention_head_dim decoder_attention_head_dim
    """,
    WIDTH: """
        hidden_size dim model_dim embed_dim dit_dim d_model projection_dim caption_projection_dim
        cross_attention_dim joint_attention_dim pooled_projection_dim caption_channels text_dim
        text_embed_dim text_embed_2_dim text_emb_dim cap_feat_dim context_in_dim text_in_dim
        text_hidden_dim in_text_dim in_text_dim2 dit_text_dim cross_attention_dim_t5
        audio_cross_attention_dim video_hidden_dim audio_hidden_dim text_encoder_dim
        cross_attention_input_dim encoder_hidden_states_channels crossattn_proj_in_channels
        conditioning_dim time_dim time_embed_dim condition_dim freq_dim adaln_dim adaln_lora_dim
        timestep_guidance_channels time_proj_dim embedding_dim time_embed_hidden_dim
    """,
    2 * WIDTH: """
        intermediate_size ffn_dim ff_dim ffn_hidden_size d_ff text_intermediate_size
        moe_intermediate_dim global_states_input_dim
    """,
    4: "norm_num_groups motion_norm_num_groups base_dim decoder_base_dim",
}
_SIZES = {name: size for size, names in _NAMES.items() for name in names.split()}

_PER_LEVEL = {
    "block_out_channels": CHANNELS,
    "encoder_block_out_channels": CHANNELS,
    "decoder_block_out_channels": CHANNELS,
    "layers_per_block": 1,
    "encoder_layers_per_block": 1,
    "decoder_layers_per_block": 1,
    "dim_mult": 1,
}
_ROTARY = ("axes_dims_rope", "rope_axes_dim", "axes_dims", "axes_dim_rope", "rope_dim_list")


def tiny_config(cls: type, values: Values) -> dict[str, Any]:
    """Arguments for the constructor of `cls`, a model or a config of transformers.

    `values` fit it to other components; those that it does not take are ignored.
    """
    parameters = inspect.signature(cls).parameters
    sizes = {n: _size(n, p.default) for n, p in parameters.items()}
    exceptions = EXCEPTIONS.get(cls.__name__, {})
    fitting = {n: v for n, v in values.items() if n in parameters}
    return {**{n: s for n, s in sizes.items() if s is not None}, **exceptions, **fitting}


def tiny_encoder_config(cls: Any, values: Values) -> PreTrainedConfig:
    """A configuration of transformers. A composite one passes `values` on to its parts."""
    whole = tiny_config(cls, values)
    parts = {
        name: tiny_encoder_config(_PARTS.get((cls.__name__, name), part), values)
        for name, part in cls.sub_configs.items()
        if name not in whole and (part is not AutoConfig or (cls.__name__, name) in _PARTS)
    }
    return cls(**parts, **whole)


def _size(name: str, default: Any) -> Any:
    """The small value of a parameter; None if its default stays."""
    if default is None:
        return None
    if isinstance(default, list | tuple):
        if name in _ROTARY:
            # the width of one head, divided among the axes of a position in even numbers
            each = HEAD_WIDTH // len(default) // 2 * 2
            return [HEAD_WIDTH - (len(default) - 1) * each, *[each] * (len(default) - 1)]
        return [_PER_LEVEL[name]] * len(default) if name in _PER_LEVEL else None
    return _SIZES.get(name)


_PARTS: Mapping[tuple[str, str], type] = {
    ("Gemma3Config", "vision_config"): SiglipVisionConfig,
    ("LlavaConfig", "text_config"): LlamaConfig,
    ("LlavaConfig", "vision_config"): CLIPVisionConfig,
    ("Mistral3Config", "text_config"): MistralConfig,
    ("Mistral3Config", "vision_config"): PixtralVisionConfig,
}
"""The class of a configuration inside another that accepts any."""

_MULTIMODAL_ROPE = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [2, 3, 3]}
}
"""The frequencies of half a head divided among time, height and width."""

_GROUPS_OF_32 = [32] * 4
"""The channels of networks with a fixed number of 32 groups in their group norms."""

EXCEPTIONS: Mapping[str, Values] = {
    "AllegroTransformer3DModel": {"attention_head_dim": 24, "cross_attention_dim": 48},
    "AsymmetricAutoencoderKL": {
        "down_block_out_channels": [CHANNELS] * 4,
        "up_block_out_channels": [CHANNELS] * 4,
    },
    "AutoencoderDC": {
        "encoder_block_out_channels": [8, 8, 16, 16, 32, 32],
        "decoder_block_out_channels": [8, 8, 16, 16, 32, 32],
    },
    "AutoencoderKLLTX2Audio": {  # 8 latent channels of 16 / 4 bands each
        "base_channels": WIDTH,
        "ch_mult": [1, 1, 1],
        "mel_bins": 16,
    },
    "AutoencoderKLLTX2Video": {
        "decoder_block_out_channels": [8, 16, 32],  # each upsampling halves them
        "spatial_compression_ratio": 32,
        "temporal_compression_ratio": 8,
    },
    "AutoencoderKLMiniMaxH3Audio": {
        "encoder_dim": 2,
        "latent_dim": WIDTH,
        "decoder_dim": 128,  # halved by each of seven upsamplings
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1]],
        "latents_mean": [0.0] * 32,
        "latents_std": [1.0] * 32,
    },
    "AutoencoderKLMochi": {
        "encoder_block_out_channels": _GROUPS_OF_32,
        "decoder_block_out_channels": _GROUPS_OF_32,
        "layers_per_block": [1] * 5,
    },
    "AutoencoderKLTemporalDecoder": {
        "block_out_channels": _GROUPS_OF_32,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
    },
    "AutoencoderOobleck": {
        "encoder_hidden_size": 2,
        "decoder_channels": 1,
        "channel_multiples": [1] * 5,
    },
    "ChatGLMConfig": {
        "padded_vocab_size": 128,
        "ffn_hidden_size": 2 * WIDTH,
        "kv_channels": HEAD_WIDTH,
        "original_rope": True,
    },
    "ChromaTransformer2DModel": {
        "approximator_num_channels": 16,
        "approximator_hidden_dim": WIDTH,
        "approximator_layers": 1,
    },
    "ControlNetUnionModel": {
        "num_trans_channel": CHANNELS,
        "num_trans_head": 2,
        "num_proj_channel": CHANNELS,
    },
    "HiDreamImageTransformer2DModel": {
        "patch_size": 2,
        "in_channels": 16,
        "caption_channels": [WIDTH, WIDTH],
        "text_emb_dim": 2 * WIDTH,
        "llama_layers": [0, 1],
        "axes_dims_rope": [8, 4, 4],
    },
    "Kandinsky3UNet": {
        "groups": 4,
        "block_out_channels": [CHANNELS] * 4,
        "layers_per_block": 2,
        "attention_head_dim": CHANNELS // 2,
        "time_embedding_dim": WIDTH,
        "encoder_hid_dim": WIDTH,
    },
    "LlavaConfig": {"pad_token_id": 0},
    "LTX2TextConnectors": {"text_proj_in_factor": 3},  # the states of all layers of the encoder
    "LTX2VideoTransformer3DModel": {"audio_in_channels": WIDTH, "audio_out_channels": WIDTH},
    "LTX2Vocoder": {"in_channels": WIDTH, "hidden_channels": 32},  # halved by each upsampling
    "MiniMaxH3Transformer3DModel": {"rope_freq_dim": 2},  # of three axes, sines and cosines
    "PixArtTransformer2DModel": {
        "attention_head_dim": 24,  # the size and the aspect ratio take a third each
        "cross_attention_dim": 48,
        "caption_channels": WIDTH,
    },
    "Qwen2_5_VLTextConfig": _MULTIMODAL_ROPE,
    "Qwen2_5_VLVisionConfig": {"out_hidden_size": WIDTH, "fullatt_block_indexes": [1]},
    "Qwen3VLTextConfig": _MULTIMODAL_ROPE,
    "Qwen3VLVisionConfig": {"out_hidden_size": WIDTH, "deepstack_visual_indexes": [0, 1]},
    "StableAudioProjectionModel": {"min_value": 0.0, "max_value": 512.0},
    "VQModel": {
        "latent_channels": 4,
        "vq_embed_dim": 4,
        "block_out_channels": _GROUPS_OF_32,
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "norm_type": "spatial",
    },
    "WanVACETransformer3DModel": {"vace_layers": [0]},
    "UNetSpatioTemporalConditionModel": {
        "block_out_channels": _GROUPS_OF_32,
        "num_attention_heads": [2] * 4,
        "addition_time_embed_dim": 32,
        "projection_class_embeddings_input_dim": 96,
    },
}
"""Values by class, where the names of its parameters do not give them."""
