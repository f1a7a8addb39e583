"""Signals: SIGINT and SIGTERM during a program.

While events are awaited a signal only wakes the waiting thread, because an exception raised in a
handler could lose the message that is just arriving. Otherwise it raises KeyboardInterrupt.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Self

WATCHED = (signal.SIGINT, signal.SIGTERM)


class Signals:
    """A context that owns the handlers. `received` is the last signal."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._wake: Callable[[], None] | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._former = {number: signal.signal(number, self._handle) for number in WATCHED}
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def asks_to_leave(self) -> bool:
        """SIGTERM ends any session; SIGINT ends only a script."""
        return self.received is signal.SIGTERM

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Within this context a signal calls `wake` and does nothing else."""
        former, self._wake = self._wake, wake
        try:
            yield
        finally:
            self._wake = former

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        if self._wake is None:
            raise KeyboardInterrupt
        self._wake()


def end_by(number: signal.Signals) -> None:
    """End this process by the signal itself, so that a shell loop around it also stops."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
