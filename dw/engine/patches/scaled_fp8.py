"""Scaled fp8: checkpoints whose float8 weights are to be multiplied by a scale beside them.

diffusers knows no scales: it would use the bare weights, which are wrong by that factor. ComfyUI
writes them as `X.scale_weight` with a marker `scaled_fp8`, and later as `X.weight_scale`, one for
each tensor or row; the scales of activations (`scale_input`, `input_scale`) are for arithmetic in
float8, which does not happen here.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch

READERS = ("diffusers.loaders.single_file", "diffusers.loaders.single_file_model")
"""The modules that bind `load_single_file_checkpoint`."""

SCALES = (".scale_weight", ".weight_scale")
NOT_NEEDED = (".scale_input", ".input_scale", ".comfy_quant")
MARKER = "scaled_fp8"
FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)


def install() -> None:
    for name in READERS:
        module: Any = importlib.import_module(name)
        module.load_single_file_checkpoint = _unscaling(module.load_single_file_checkpoint)


def unscaled(weights: dict[str, Any]) -> dict[str, Any]:
    """The weights with their scales applied, as bfloat16, which holds each product of a float8 and
    a power of two exactly and others to 3 digits. Without scales: the same object."""
    scales = {
        key: f"{key.removesuffix(end)}.weight"
        for key in weights
        for end in SCALES
        if key.endswith(end)
    }
    scaled = {w: weights[key] for key, w in scales.items() if _is_float8(weights.get(w))}
    if not scaled:
        return weights
    applied = {scales_key for scales_key, w in scales.items() if w in scaled}
    return {
        key: _scaled(value, scaled[key]) if key in scaled else value
        for key, value in weights.items()
        if key not in applied and not key.endswith((*NOT_NEEDED, MARKER))
    }


def _is_float8(tensor: Any) -> bool:
    return isinstance(tensor, torch.Tensor) and tensor.dtype in FLOAT8


def _scaled(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """`weight`: (out, ...); `scale`: one number, or one for each row."""
    rows = scale.float().reshape(-1, *[1] * (weight.ndim - 1))
    return (weight.float() * rows).to(torch.bfloat16)


def _unscaling(read: Any) -> Any:
    def load_single_file_checkpoint(*args: Any, **kwargs: Any) -> Any:
        return unscaled(read(*args, **kwargs))

    return load_single_file_checkpoint
