"""Metadata: any value as JSON. Equal values give equal JSON in every process."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from dw.engine.patches import progress_bars

LONGEST_TEXTS = (4096, 1024, 256, 64, 16)
"""Characters of each text in metadata that a file cannot hold whole: the most that fits."""


def embedded(metadata: Mapping[str, Any], fits: Callable[[str], bool] = bool) -> str:
    """The metadata as JSON; what does not fit is shortened, with a warning: long texts first, then
    all arguments. The JSON says so under `shortened`."""
    whole = as_json(metadata)
    if fits(text := _text(whole)):
        return text
    progress_bars.warn(
        "the metadata of an image is longer than its format holds, and is shortened; a PNG holds "
        "all of it"
    )
    for longest in LONGEST_TEXTS:
        if fits(text := _text({**_shortened(whole, longest), "shortened": True})):
            return text
    rest = {name: value for name, value in whole.items() if name != "arguments"}
    return _text({**_shortened(rest, LONGEST_TEXTS[-1]), "shortened": True})


def _text(data: Any) -> str:
    return storable_text(json.dumps(data, ensure_ascii=False))


def storable_text(text: str) -> str:
    """Half of a surrogate pair, which no file can hold as text, becomes its JSON escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def _shortened(value: Any, longest: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _shortened(member, longest) for name, member in value.items()}
    if isinstance(value, list):
        return [_shortened(item, longest) for item in value]
    is_long = isinstance(value, str) and len(value) > longest
    return f"{value[: longest - 1]}…" if is_long else value


def as_json(value: Any) -> Any:
    """Images and arrays become the hash of their content, classes their name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no such numbers
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
