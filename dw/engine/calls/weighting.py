"""Prompt weighting for the pipelines of FLUX.1.

T5's embedding of each token is multiplied by its weight. CLIP gives one vector for the whole
prompt, without weights: a prompt that is longer than its input is read in chunks, and their vectors
are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.loaders import FluxLoraLoaderMixin
from diffusers.utils import scale_lora_layers, unscale_lora_layers
from diffusers.utils.torch_utils import get_module_execution_device

from dw.engine.calls.prompt_syntax import PromptSegment, has_weights, joined, parse
from dw.engine.python.signatures import call_parameters

EMBEDS = ("prompt_embeds", "pooled_prompt_embeds")


def takes_weights(cls: Any) -> bool:
    """Whether the pipeline is of the FLUX.1 family."""
    is_flux = isinstance(cls, type) and issubclass(cls, FluxLoraLoaderMixin)
    return is_flux and all(name in call_parameters(cls) for name in EMBEDS)


def weighted(pipeline: DiffusionPipeline, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call with embeddings instead of its prompts; unchanged when no prompt has
    weights."""
    given, parameters = dict(arguments), call_parameters(pipeline.__class__)
    names = [f"{sign}prompt{number}" for sign in ("", "negative_") for number in ("", "_2")]
    texts = {name: given[name] for name in names if given.get(name) is not None}
    weights = any(has_weights(text) for value in texts.values() for text in _list(value))
    if not weights or "prompt" not in texts:
        return given
    scale = parameters.get("true_cfg_scale")
    if scale is None or given.get("true_cfg_scale", scale.default) <= 1:  # it has no effect
        texts = {name: value for name, value in texts.items() if "negative" not in name}
    count = len(_list(texts["prompt"]))
    copies = given.pop("num_images_per_prompt", None) or 1
    given = {name: value for name, value in given.items() if name not in names}
    length = given.get("max_sequence_length", parameters["max_sequence_length"].default)
    with _scaled_lora(pipeline, given):
        for sign in ("", "negative_"):
            if (first := texts.get(f"{sign}prompt")) is not None:
                second = texts.get(f"{sign}prompt_2") or first
                embeds = _embeds(pipeline, _times(first, count), _times(second, count), length)
                for name, tensor in zip(EMBEDS, embeds, strict=True):
                    given[f"{sign}{name}"] = tensor.repeat_interleave(copies, dim=0)
    return given


def _embeds(
    pipeline: Any, first: list[str], second: list[str], length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """T5's (batch, tokens, channels) and CLIP's (batch, channels)."""
    pooled = torch.stack([_clip(pipeline, parse(text)) for text in first])
    tokens = torch.cat([_t5(pipeline, joined(parse(text)), length) for text in second])
    device = pipeline._execution_device
    return tokens.to(device), pooled.to(device)


def _t5(pipeline: Any, prompt: PromptSegment, length: int) -> torch.Tensor:
    tokens = pipeline.tokenizer_2(
        prompt.text,
        padding="max_length",
        max_length=length,
        truncation=True,
        return_offsets_mapping=True,
        return_tensors="pt",
    )
    encoder = pipeline.text_encoder_2
    embeds: torch.Tensor = encoder(tokens.input_ids.to(get_module_execution_device(encoder)))[0]
    weights = [prompt.weight(start, end) for start, end in tokens.offset_mapping[0].tolist()]
    embeds = embeds.to(encoder.dtype)
    return embeds * torch.tensor(weights).to(embeds)[None, :, None]


def _clip(pipeline: Any, segments: list[PromptSegment]) -> torch.Tensor:
    """The mean over the chunks of each segment."""
    tokenizer, chunks = pipeline.tokenizer, []
    room = tokenizer.model_max_length - 2  # without begin and end
    for segment in segments:
        ids = tokenizer(segment.text, add_special_tokens=False, verbose=False).input_ids
        for start in range(0, max(1, len(ids)), room):
            chunk = ids[start : start + room]
            padding = [tokenizer.pad_token_id] * (room - len(chunk))
            chunks.append([tokenizer.bos_token_id, *chunk, tokenizer.eos_token_id, *padding])
    encoder = pipeline.text_encoder
    device = get_module_execution_device(encoder)
    pooled: torch.Tensor = encoder(torch.tensor(chunks, device=device)).pooler_output
    return pooled.mean(dim=0).to(encoder.dtype)


@contextmanager
def _scaled_lora(pipeline: Any, arguments: Mapping[str, Any]) -> Iterator[None]:
    """Scales the LoRAs on the text encoders as the pipeline's own encoding does."""
    scale = (arguments.get("joint_attention_kwargs") or {}).get("scale")
    encoders = [] if scale is None else [pipeline.text_encoder, pipeline.text_encoder_2]
    for encoder in encoders:
        scale_lora_layers(encoder, scale)
    try:
        yield
    finally:
        for encoder in encoders:
            unscale_lora_layers(encoder, scale)


def _list(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _times(value: Any, count: int) -> list[str]:
    """One text for each prompt of the call."""
    texts = _list(value)
    return texts * count if len(texts) == 1 else texts
