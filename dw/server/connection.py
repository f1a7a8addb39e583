"""Connections: uvicorn's HTTP/1.1, which gives up on callers who neither send nor read, and which
answers what is no HTTP in our own words."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from dw.server.api_error import ApiError
from dw.server.edge import new_request_id
from dw.server.limits import Limits


class Connection(H11Protocol):
    """Two timers: one for the head of a request, as the edge has one for its body, and one for an
    answer that nobody takes."""

    def __init__(self, *args: Any, limits: Limits, **options: Any) -> None:
        super().__init__(*args, **options)
        self._limits = limits
        self._reading: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._expect_request()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._expect_request()
        elif self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._reading, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reader()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_reader()  # of what is still to be sent

    def send_400_response(self, msg: str) -> None:
        """The answer to what is no HTTP, unless another one has begun."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = new_request_id()
            error = ApiError("invalid_request", msg.lower().rstrip("."))
            body = json.dumps(error.to_json(request_id)).encode()
            headers = {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "x-request-id": request_id,
                "connection": "close",
                **error.headers,
            }
            for event in (
                h11.Response(status_code=400, headers=[*headers.items()], reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _expect_request(self) -> None:
        """Close the connection unless a whole request's head comes in time. A byte now and then
        does not prolong it."""
        if self._reading is None:
            self._reading = self.loop.call_later(self._limits.read_timeout, self.transport.abort)

    def _expect_reader(self) -> None:
        """Close the connection when no byte has been taken for a while."""
        before = self.transport.get_write_buffer_size()

        def look() -> None:
            self._writing = None
            if self.transport.get_write_buffer_size() < before:
                self._expect_reader()
            else:
                self.transport.abort()

        if self._writing is None:
            self._writing = self.loop.call_later(self._limits.write_timeout, look)


def connections(limits: Limits) -> Any:
    """The protocol of connections with these limits, for uvicorn's configuration."""
    return partial(Connection, limits=limits)
