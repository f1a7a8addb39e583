"""clip_skip: the hidden states of a text encoder before its last layers.

Pipelines of diffusers reach for `text_encoder.text_model.final_layer_norm`, but transformers 5 has
no inner `text_model` in CLIPTextModel any more: what was in it is in the model itself. For the time
of a call the model is its own inner model. Not longer, because loaders tell by this attribute how
the keys of a file are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from dw.engine.models.live_models import modules
from dw.errors import RunFailed


@contextmanager
def skipping(pipeline: Any, clip_skip: int | None) -> Iterator[None]:
    """Give the text encoders of a pipeline what diffusers looks for. Raises RunFailed when one has
    too few layers."""
    encoders = [] if clip_skip is None else list(_clip_models(pipeline))
    for encoder in encoders:
        layers = encoder.config.num_hidden_layers
        if clip_skip is not None and clip_skip >= layers:
            raise RunFailed(
                f"'clip_skip' must be below {layers}, the layers of the text encoder, "
                f"got {clip_skip}"
            )
    wrapped = [each for each in encoders if not hasattr(each, "text_model")]
    for encoder in wrapped:
        vars(encoder)["text_model"] = encoder  # past nn.Module, for which it would be a circle
    try:
        yield
    finally:
        for encoder in wrapped:
            del vars(encoder)["text_model"]


def _clip_models(pipeline: Any) -> Iterator[Any]:
    for module in modules(pipeline):
        inner = getattr(module, "text_model", module)
        if isinstance(getattr(inner, "final_layer_norm", None), torch.nn.Module):
            yield module
