"""Components of stand-ins: the real classes with a few ten thousand random weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import AutoencoderKL, ModelMixin, SchedulerMixin, T2IAdapter, UNet2DConditionModel
from transformers import (
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedModel,
    ProcessorMixin,
)
from transformers.image_processing_base import ImageProcessingMixin

from dw.rehearsal.configs import tiny_config, tiny_encoder_config
from dw.rehearsal.family import Values
from dw.rehearsal.no_stand_in import NoStandIn
from dw.rehearsal.processors import processor
from dw.rehearsal.tokenizers import TOKENIZERS
from dw.rehearsal.vae import amplify, brighten, transparent_vae


def make(cls: Any, values: Values) -> Any:
    """A component of the class. `values` are entries of its configuration that fit it to others;
    entries that it does not take are ignored. Raises NoStandIn."""
    if cls.__name__ in TOKENIZERS:
        return TOKENIZERS[cls.__name__](**values)
    if cls.__name__.endswith("Processor") and not issubclass(cls, ImageProcessingMixin):
        return processor(cls)
    if issubclass(cls, SchedulerMixin | ImageProcessingMixin):
        return cls(**values)
    if cls is T2IAdapter:  # a feature map for each level of the UNet `values`, one for its middle
        channels = [*values["block_out_channels"], values["block_out_channels"][-1]]
        return T2IAdapter(channels=channels, downscale_factor=16, adapter_type="full_adapter_xl")
    if cls is AutoencoderKL:
        return transparent_vae(**values)
    if issubclass(cls, PreTrainedModel):
        return _encoder(cls, values)
    if issubclass(cls, ModelMixin):
        is_unet = cls is UNet2DConditionModel
        model = cls(**({**_UNET, **values} if is_unet else tiny_config(cls, values)))
        _tune(model)
        brighten(model)
        return model.eval()
    raise NoStandIn(cls.__name__)


def _encoder(cls: Any, values: Values) -> PreTrainedModel:
    encoder = cls(tiny_encoder_config(cls.config_class, values))
    if isinstance(encoder, CLIPTextModel | CLIPTextModelWithProjection):
        torch.nn.init.normal_(encoder.get_input_embeddings().weight)
    if cls.__name__ in _UNSET:
        _set(encoder)
    return encoder.eval()


_UNSET = ("ChatGLMModel",)
"""Classes whose weights are uninitialized memory until they are loaded."""


@torch.no_grad()
def _set(encoder: torch.nn.Module) -> None:
    for name, parameter in encoder.named_parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
        else:
            parameter.fill_(name.endswith("weight"))  # of norms; biases are zero


_UNET: Values = {
    "sample_size": 64,
    "block_out_channels": (16, 16, 32),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "attention_head_dim": 2,
    "norm_num_groups": 4,
    "cross_attention_dim": 32,
}
"""The levels of SDXL: no attention at the full size of the latents."""


_TEXT_LAYERS = ("context_embedder", "text_embedder.linear_2", "caption_projection.linear_2")
_LOUDER = {"attn2.to_out.0": 4, "upsamplers.0.conv": 4, "conv_out": 2}


@torch.no_grad()
def _tune(model: torch.nn.Module) -> None:
    """Give random weights to parameters that start as zero or unset, so that all have an effect.

    A random network hardly reacts to the prompt: its layers are amplified, so that another prompt
    gives a visibly different image.
    """
    for parameter in model.parameters():
        if parameter.isnan().any() or (parameter.ndim > 1 and not parameter.any()):
            torch.nn.init.normal_(parameter, std=0.1)
    for name, layer in model.named_modules():
        if name.endswith(_TEXT_LAYERS) and isinstance(layer, torch.nn.Linear):
            amplify(layer, 8)
        if isinstance(model, UNet2DConditionModel) and name.endswith(tuple(_LOUDER)):
            amplify(layer, next(factor for end, factor in _LOUDER.items() if name.endswith(end)))


_IMAGE_TOKENS = {
    "image_token_id": ("<|image_pad|>",),
    "video_token_id": ("<|video_pad|>",),
    "vision_start_token_id": ("<|vision_start|>",),
    "vision_end_token_id": ("<|vision_end|>",),
    "image_token_index": ("<image>", "[IMG]"),
}


def token_values(tokenizer: Any) -> dict[str, Any]:
    """Entries of a text encoder's configuration from its tokenizer, or from its processor's."""
    tokenizer = tokenizer.tokenizer if isinstance(tokenizer, ProcessorMixin) else tokenizer
    ids = {f"{n}_token_id": getattr(tokenizer, f"{n}_token_id") for n in ("bos", "eos", "pad")}
    known = tokenizer.get_vocab()
    for name, tokens in _IMAGE_TOKENS.items():
        ids[name] = next((known[token] for token in tokens if token in known), None)
    values = {name: value for name, value in ids.items() if value is not None}
    # A tokenizer may have no such token; the default of a class lies outside of a small vocabulary.
    return {"vocab_size": len(tokenizer), "bos_token_id": None, **values}
