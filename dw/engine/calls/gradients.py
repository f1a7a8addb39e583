"""Calls without gradients."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import torch

from dw.engine.models.live_models import modules


def without_gradients(components: Iterable[Any]) -> AbstractContextManager[Any]:
    """Inference mode, in which a call of a tiny model takes 5 % less than under `no_grad`. Packed
    weights, such as the 4 bits of optimum-quanto, cannot be read in it."""
    found = (module for component in components for module in modules(component))
    is_quantized = any(getattr(module, "hf_quantizer", None) is not None for module in found)
    return torch.no_grad() if is_quantized else torch.inference_mode()
