"""Progress: what a caller hears of a job before its result, one message at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

INTERVAL_S = 1.0

Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Progress:
    """Sends states of a job, at most one each `interval_s`, and never a second one before the first
    has arrived. None is on its way when the `async with` has ended: a message after the result
    would take its place."""

    def __init__(self, send: Send, *, interval_s: float = INTERVAL_S) -> None:
        self._send = send
        self._interval_s = interval_s
        self._sending: asyncio.Future[None] | None = None
        self._due = 0.0

    async def __aenter__(self) -> Progress:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._sending is not None:
            await self._sending

    def report(self, state: Mapping[str, Any]) -> None:
        """Send a state, or drop it when the last one was sent just now."""
        is_sending = self._sending is not None and not self._sending.done()
        if is_sending or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._interval_s
        self._sending = asyncio.ensure_future(self._send(state))
