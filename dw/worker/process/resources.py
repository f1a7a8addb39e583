"""Resources: free memory of the machine, and the memory and state of a process.

The system and NVIDIA's library are asked, never CUDA, which would create a context.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping
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


def query_gpu_memory(query: Callable[[], Free], answer: Callable[[Free], None]) -> None:
    """Call `answer` in a thread of its own: a driver that hangs must not block the shell."""
    try:
        threading.Thread(target=lambda: answer(query()), name="gpu-memory", daemon=True).start()
    except RuntimeError:  # no further thread may be started
        answer({})


def rss() -> int:
    """Bytes of host memory that this process holds."""
    import psutil

    resident: int = psutil.Process().memory_info().rss
    return resident


def unusual_states(pid: int, silent_s: float | None) -> Iterator[str]:
    """What is unusual about a process: it is stopped, waits in the kernel, or is silent."""
    import psutil

    try:
        state = psutil.Process(pid).status()
    except psutil.Error:
        return
    if state == psutil.STATUS_STOPPED:
        yield f"the process is stopped (kill -CONT {pid} lets it go on)"
    elif state == psutil.STATUS_DISK_SLEEP:
        yield "it waits in the kernel, for the driver or a disk"
    if silent_s is not None:
        yield silence(silent_s)


def silence(seconds: float) -> str:
    cause = "the GIL is held or the process is stopped"
    return f"Python has not responded for {seconds:.0f} s ({cause})"


@cache
def _nvml() -> Any:
    """NVIDIA's library, initialized; None if it is not installed or finds no driver."""
    try:
        import pynvml
    except ImportError:  # there is none for macOS
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml
