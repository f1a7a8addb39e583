"""Whether what is to be loaded has room beside what is in memory."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dw.engine.device import Device
from dw.engine.models.cache import Load
from dw.engine.models.source import WEIGHTS


def has_room(loads: Iterable[Load], device: Device) -> bool:
    """As far as the files tell: weights take about as much of memory as of the disk."""
    sources = {load.spec.source for load in loads if load.spec and load.spec.dtype is not None}
    needed = sum(map(_weight_bytes, sources))
    return not needed or needed <= device.memory().free  # which takes a while on a CPU


def _weight_bytes(source: Path) -> int:
    files = source.iterdir() if source.is_dir() else [source] if source.is_file() else []
    return sum(file.stat().st_size for file in files if file.name.endswith(WEIGHTS))
