"""Whether processes are gone, as a user would see it in `ps`, and what this one holds."""

from __future__ import annotations

import contextlib
import logging
import threading
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


def footprint() -> dict[str, int]:
    """What a shell must not hold more of, however long it lives."""
    me = psutil.Process()
    loggers = [logging.root, *logging.root.manager.loggerDict.values()]
    return {
        "descriptors": me.num_fds(),
        "threads": me.num_threads(),
        "Python threads": threading.active_count(),
        "processes": sum(map(is_running, me.children(recursive=True))),
        "log handlers": sum(len(getattr(each, "handlers", ())) for each in loggers),
    }


def grown(before: dict[str, int]) -> dict[str, int]:
    """What it holds more of than before, and how much."""
    return {what: n - before[what] for what, n in footprint().items() if n > before[what]}
