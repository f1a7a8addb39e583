"""Metadata: any value as JSON. Equal values give equal JSON in every process."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image


def as_json(value: Any) -> Any:
    """Images and arrays become the hash of their content, classes their name."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return as_json(value.item())
    if isinstance(value, Mapping):
        return {str(key): as_json(member) for key, member in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(item) for item in value]
    if isinstance(value, Image.Image):
        size = [value.width, value.height]
        return {"image": value.mode, "size": size, "sha256": _hash(value.tobytes())}
    if isinstance(value, torch.Tensor):
        value = value.detach().float().cpu().numpy()
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)
        return {"array": str(array.dtype), "shape": array.shape, "sha256": _hash(array.tobytes())}
    if is_dataclass(value) and not isinstance(value, type):
        members = {field.name: getattr(value, field.name) for field in fields(value)}
        return {"type": type(value).__name__, **as_json(members)}
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    return str(value) if isinstance(value, torch.dtype) else type(value).__name__


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
