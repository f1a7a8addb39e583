"""Devices: CUDA, MPS and the CPU behind one small interface."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import ClassVar

import psutil
import torch

from dw.errors import UsageError


@dataclass(frozen=True, slots=True)
class DeviceMemory:
    """Bytes. `allocated` holds tensors, `reserved` is what the allocator keeps, `free` and
    `total` are the whole device's, other programs included."""

    allocated: int
    reserved: int
    free: int
    total: int


@dataclass(frozen=True)
class Device(ABC):
    """A device, and why it was chosen, in words."""

    spec: str  # as torch spells it: cuda:0, mps, cpu
    reason: str
    kind: ClassVar[str]

    @property
    def name(self) -> str:
        return self.kind.upper()

    @property
    def torch(self) -> torch.device:
        return torch.device(self.spec)

    @abstractmethod
    def memory(self) -> DeviceMemory: ...

    def capacity(self) -> int | None:
        """Bytes of memory that models can use, None when unknown. Makes no context on the
        device."""
        return int(psutil.virtual_memory().total)

    def empty_cache(self) -> None:  # noqa: B027  # some devices have nothing to give back
        """Give back to the system what the allocator keeps but does not use."""

    def synchronize(self) -> None:  # noqa: B027  # some devices queue nothing
        """Wait until everything that was queued has run."""


class Cuda(Device):
    kind = "cuda"

    @property
    def name(self) -> str:
        return str(torch.cuda.get_device_name(self.torch))

    def memory(self) -> DeviceMemory:
        free, total = torch.cuda.mem_get_info(self.torch)
        allocated, reserved = (
            torch.cuda.memory_allocated(self.torch),
            torch.cuda.memory_reserved(self.torch),
        )
        return DeviceMemory(allocated, reserved, free, total)

    def capacity(self) -> int | None:
        try:
            import pynvml
        except ImportError:
            return None
        # Asked of the driver's own library, as `mem_get_info` would make a context. torch knows
        # which of its GPUs this one is.
        with suppress(ImportError, RuntimeError, pynvml.NVMLError):
            gpu = torch.cuda._get_pynvml_handler(self.torch)
            return int(pynvml.nvmlDeviceGetMemoryInfo(gpu).total)
        return None

    def empty_cache(self) -> None:
        torch.cuda.synchronize(self.torch)
        torch.cuda.empty_cache()
        torch.cuda.ipc_collect()  # type: ignore[no-untyped-call]
        if hasattr(torch.accelerator, "empty_host_cache"):
            torch.accelerator.empty_host_cache()

    def synchronize(self) -> None:
        torch.cuda.synchronize(self.torch)


class Mps(Device):
    kind = "mps"

    def memory(self) -> DeviceMemory:
        total = torch.mps.recommended_max_memory()
        reserved = torch.mps.driver_allocated_memory()
        return DeviceMemory(
            torch.mps.current_allocated_memory(), reserved, max(0, total - reserved), total
        )

    def empty_cache(self) -> None:
        torch.mps.synchronize()
        torch.mps.empty_cache()

    def synchronize(self) -> None:
        torch.mps.synchronize()


@dataclass(frozen=True)
class Cpu(Device):
    """The CPU's allocator does not count, so `allocated` is what `live_bytes` finds in live
    models."""

    live_bytes: Callable[[], int]
    kind = "cpu"

    def memory(self) -> DeviceMemory:
        live, host = self.live_bytes(), psutil.virtual_memory()
        return DeviceMemory(live, live, host.available, host.total)


def choose_device(wanted: str | None, *, live_bytes: Callable[[], int]) -> Device:
    """The device that was asked for, or the best one there is. Makes no CUDA context.

    Raises UsageError when the wanted device does not exist here.
    """
    if wanted in (None, "auto"):
        best = available()[0]
        if best.startswith("cuda"):
            return Cuda(best, "the first CUDA device")
        if best == "mps":
            return Mps(best, "the MPS device, without CUDA")
        return Cpu(best, "there is neither CUDA nor MPS", live_bytes)
    kind, _, index = str(wanted).partition(":")
    if kind == "cpu":
        return Cpu("cpu", "asked for", live_bytes)
    if kind == "mps" and torch.backends.mps.is_available():
        return Mps("mps", "asked for")
    if kind == "cuda" and (index or "0").isdigit() and int(index or 0) < torch.cuda.device_count():
        return Cuda(f"cuda:{int(index or 0)}", "asked for")
    raise UsageError(f"device {wanted!r} is not available; available are {', '.join(available())}")


def available() -> list[str]:
    """Every device of this machine, as torch spells it."""
    cuda = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
    return cuda + (["mps"] if torch.backends.mps.is_available() else []) + ["cpu"]
