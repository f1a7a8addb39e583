"""Whether processes are gone, as a user would see it in `ps`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil


def is_running(process: psutil.Process) -> bool:
    """A zombie is not: what is left of it waits for an init that reaps."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() != psutil.STATUS_ZOMBIE
    return False


def assert_gone(processes: Iterable[psutil.Process], within_s: float = 1.0) -> None:
    give_up = time.monotonic() + within_s
    while alive := [process for process in processes if is_running(process)]:
        assert time.monotonic() < give_up, alive
        time.sleep(0.01)
