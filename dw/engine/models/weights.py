"""How many bytes weights take, from the headers of their files: nothing is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from dw.engine.device import Device
from dw.engine.models.spec import ComponentSpec
from dw.engine.shortage import size_in_words

_LONGEST_HEADER = 100 * 2**20  # bytes; safetensors' own limit
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1}


def memory_bytes(source: Path, dtype: torch.dtype | None = None) -> int:
    """What the safetensors in `source`, a folder or a file, take in memory as `dtype`.

    None: as they are stored. Other files count as nothing, and so does a header that is broken.
    """
    files = [source] if source.is_file() else sorted(source.glob("*.safetensors"))
    return sum(_tensor_bytes(entry, dtype) for file in files for entry in _header(file))


def too_large(specs: Iterable[ComponentSpec], device: Device) -> str | None:
    """Why these components do not fit on the device, in words; None when they do."""
    here = [spec for spec in specs if spec.placement and spec.placement.device == device.spec]
    needed = sum(_resident_bytes(spec) for spec in here)
    visiting = max((_visiting_bytes(spec) for spec in here), default=0)
    if not needed + visiting or needed + visiting <= (free := device.memory().free):
        return None
    return (
        f"the weights take {size_in_words(needed + visiting)} on {device.spec}, "
        f"which has {size_in_words(free)} free"
    )


def _resident_bytes(spec: ComponentSpec) -> int:
    is_resident = spec.placement is not None and spec.placement.offload is None
    return _known_bytes(spec) if is_resident else 0


def _visiting_bytes(spec: ComponentSpec) -> int:
    """Of a model that comes as a whole when it runs, and goes."""
    visits = spec.placement is not None and spec.placement.offload in ("model", "on_demand")
    return _known_bytes(spec) if visits else 0


def _known_bytes(spec: ComponentSpec) -> int:
    """Nothing where the weights are quantized, cast or cut while they are loaded."""
    if spec.quantization is not None or spec.changes:
        return 0
    return memory_bytes(spec.source, spec.dtype)


def _header(file: Path) -> Iterator[dict[str, Any]]:
    with file.open("rb") as data:
        length = int.from_bytes(data.read(8), "little")
        if 0 < length <= _LONGEST_HEADER:
            try:
                entries = json.loads(data.read(length))
            except ValueError:
                return
            yield from (entry for name, entry in entries.items() if name != "__metadata__")


def _tensor_bytes(entry: dict[str, Any], dtype: torch.dtype | None) -> int:
    begin, end = entry["data_offsets"]
    if dtype is None or entry["dtype"] not in _FLOATS:
        return int(end - begin)
    return int(math.prod(entry["shape"])) * dtype.itemsize
