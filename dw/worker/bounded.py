"""Bounded waits: what asks a disk that may hang, which must not block the shell."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
E = TypeVar("E")

LIMIT_S = 0.2  # a file is looked at, or a record written, in about a millisecond


def bounded(act: Callable[[], T], otherwise: E) -> T | E:
    """What `act` returns, or `otherwise` when it takes longer than `LIMIT_S`; it then goes on in
    its thread."""
    answer: SimpleQueue[T] = SimpleQueue()
    try:
        threading.Thread(target=lambda: answer.put(act()), name="bounded", daemon=True).start()
    except RuntimeError:  # no further thread may be started
        return act()
    try:
        return answer.get(timeout=LIMIT_S)
    except Empty:
        return otherwise
