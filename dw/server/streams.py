"""Streams: answers that go on for as long as there is something to tell and somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Any

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

PING = b": ping\n\n"
PING_S = 15.0
"""Silence after which a comment is sent: proxies close a connection on which nothing comes."""


class Stream(StreamingResponse):
    """The generator of its chunks is closed as soon as the caller leaves: left to the garbage
    collector, one that waits for its next event would hold what it has for a long while. `on_end`
    is called then too, even if the caller left before the first chunk."""

    def __init__(
        self,
        chunks: AsyncGenerator[bytes, None],
        *,
        on_end: Callable[[], object] = lambda: None,
        **options: Any,
    ) -> None:
        super().__init__(chunks, **options)
        self._chunks = chunks
        self._on_end = on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()
            await self._chunks.aclose()


EVENTS: dict[str, Any] = {
    "content": {
        "text/event-stream": {
            "schema": {
                "type": "object",
                "properties": {name: {"type": "string"} for name in ("id", "event", "data")},
                "required": ["data"],
            }
        }
    }
}
"""An answer of events in an OpenAPI document: the schema of each event, whose data is JSON."""


class EventStream(Stream):
    """Server-sent events."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], *, on_end: Callable[[], object] = lambda: None
    ) -> None:
        headers = {"cache-control": "no-cache", "x-accel-buffering": "no"}
        super().__init__(_with_pings(events), on_end=on_end, headers=headers)


async def _with_pings(events: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    coming: asyncio.Future[bytes | None] = asyncio.ensure_future(anext(events, None))
    try:
        while True:
            while not (await asyncio.wait({coming}, timeout=PING_S))[0]:
                yield PING
            if (event := coming.result()) is None:
                return
            yield event
            coming = asyncio.ensure_future(anext(events, None))
    finally:
        coming.cancel()
        with suppress(asyncio.CancelledError):
            await coming
        await events.aclose()
