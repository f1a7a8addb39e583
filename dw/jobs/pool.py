"""Worker pools: the workers that jobs are given to, one supervised worker for each device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Protocol

from dw.errors import UsageError
from dw.jobs.worker import WorkerClient
from dw.settings import Settings
from dw.worker.process.resources import free_gpu_bytes


@dataclass(frozen=True, slots=True)
class Slot:
    """A place for one job at a time. `name` is its device's, or that of a machine and a device."""

    name: str
    device: str  # as the setting: auto, cuda:N, mps or cpu
    client: WorkerClient


class WorkerPool(Protocol):
    @property
    def slots(self) -> Sequence[Slot]: ...

    def close(self) -> None:
        """End every worker."""


class LocalPool:
    """Workers on this machine."""

    def __init__(self, settings: Settings, devices: Sequence[str]) -> None:
        from dw.worker.client import LocalWorkerClient

        self.slots = [
            Slot(device, device, LocalWorkerClient(replace(settings, device=device)))
            for device in devices
        ]

    def close(self) -> None:
        for slot in self.slots:
            slot.client.close()


def visible_devices() -> list[str]:
    """The devices of this machine that a worker each is started for: its CUDA devices, as far as
    `CUDA_VISIBLE_DEVICES` shows them, when there are several, else `auto`."""
    count = len(free_gpu_bytes())
    if (shown := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        # An invalid entry hides itself and all that follow, as -1 does.
        entries = takewhile(lambda each: each not in ("", "-1"), shown.split(","))
        count = min(count, len(list(entries)))
    return [f"cuda:{number}" for number in range(count)] if count > 1 else ["auto"]


def devices_of(workers: str, *, needs_cuda: bool = False) -> list[str]:
    """The device of each worker, for the number that a user named or `auto`. With `needs_cuda` none
    falls back to the CPU. Raises UsageError."""
    devices = ["cuda" if needs_cuda and d == "auto" else d for d in visible_devices()]
    if workers == "auto":
        return devices
    if not workers.isdecimal() or not 0 < int(workers) <= len(devices):
        raise UsageError(
            f"the workers are auto or a number from 1 to {len(devices)}, as this machine has "
            f"devices, got {workers!r}"
        )
    return devices[: int(workers)]
