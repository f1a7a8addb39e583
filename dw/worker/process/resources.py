"""How much memory the machine has free, asked of the system and never of CUDA: that would make a
context."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

Free = Mapping[str, int]
"""Bytes by the GPU's UUID; empty where there is no NVIDIA GPU or no driver."""


def free_host_bytes() -> int:
    import psutil

    available: int = psutil.virtual_memory().available
    return available


def free_gpu_bytes() -> Free:
    if (nvml := _nvml()) is None:
        return {}
    free: dict[str, int] = {}
    with contextlib.suppress(nvml.NVMLError):
        for index in range(nvml.nvmlDeviceGetCount()):
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            free[nvml.nvmlDeviceGetUUID(gpu)] = nvml.nvmlDeviceGetMemoryInfo(gpu).free
    return free


def measure(meter: Callable[[], Free], tell: Callable[[Free], None]) -> None:
    """Have a thread ask and tell: a driver that hangs must not take the shell along."""
    threading.Thread(target=lambda: tell(meter()), name="meter", daemon=True).start()


@cache
def _nvml() -> Any:
    """NVIDIA's library, initialized; None where it is not installed or finds no driver."""
    try:
        import pynvml
    except ImportError:  # there is none for macOS
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
