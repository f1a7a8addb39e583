"""The edge: what every request passes before a route sees it, and every answer after.

The caller's `x-request-id` or a new one, the key, and the limits of a body's size and slowness.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time

from fastapi.responses import JSONResponse, Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dw.jobs.log_ids import request_id as logged_request_id
from dw.server.access import Keys
from dw.server.api_error import ApiError
from dw.server.faces import face_of
from dw.server.limits import SLOWEST, Limits

OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping"})
"""Paths that need no key, and say nothing of jobs."""

PAGES = ("/workflows", "/jobs", "/docs")
"""Paths that people see in a browser, which asks for the key as a password."""

UPLOADS = frozenset({"/v1/files", "/v1/images/edits"})
"""Paths of forms, whose files go to the disk as they come."""

_REQUEST_ID = re.compile(r"[\w.-]{1,128}", re.ASCII)


class Refused(HTTPException):
    """An error that is found while a body is read. FastAPI lets no other kind through there."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.type.status)
        self.error = error


class Edge:
    """Middleware."""

    def __init__(self, app: ASGIApp, keys: Keys, limits: Limits) -> None:
        self._app = app
        self._keys = keys
        self._limits = limits
        self._requests = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else new_request_id()
        scope.setdefault("state", {})["request_id"] = request_id
        logged_request_id.set(request_id)

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        if (refused := self._refusal(scope["path"], headers)) is not None:
            await refused(scope, receive, identified)
            return
        self._requests += 1
        try:
            await self._app(scope, self._limited(scope["path"], receive), identified)
        finally:
            self._requests -= 1

    def _refusal(self, path: str, headers: Headers) -> Response | None:
        if path in OPEN_PATHS:
            return None
        if not self._keys.accept(headers.get("authorization")):
            error = ApiError("invalid_api_key", "the API key is missing or wrong")
            refused = answer(path, logged_request_id.get(), error)
            if path == "/" or path.startswith(PAGES):
                basic = 'Basic realm="dw: the API key is the password"'
                refused.headers["www-authenticate"] = basic
            return refused
        if self._requests >= self._limits.max_requests:
            message = f"{self._limits.max_requests} requests are open already"
            return answer(path, logged_request_id.get(), ApiError("too_many_requests", message))
        # The HTTP parser takes nothing but digits here.
        if int(headers.get("content-length", 0)) > self._largest(path):
            return answer(path, logged_request_id.get(), self._too_large(path))
        return None

    def _largest(self, path: str) -> int:
        return self._limits.max_upload if path in UPLOADS else self._limits.max_body

    def _too_large(self, path: str) -> ApiError:
        return ApiError("payload_too_large", f"the body has more than {self._largest(path)} bytes")

    def _limited(self, path: str, receive: Receive) -> Receive:
        """Receives as `receive` does, until the body is too large or comes too slowly."""
        begun, received, is_whole = time.monotonic(), 0, False
        patience, largest = self._limits.read_timeout, self._largest(path)

        async def limited() -> Message:
            nonlocal received, is_whole
            if is_whole:
                return await receive()
            left = begun + patience + received / SLOWEST - time.monotonic()
            try:
                message = await asyncio.wait_for(receive(), min(patience, max(left, 0.001)))
            except TimeoutError:
                error = ApiError(
                    "request_timeout", f"{received} bytes of the body came, too slowly"
                )
                raise Refused(error) from None
            received += len(message.get("body", b""))
            if received > largest:
                raise Refused(self._too_large(path))
            is_whole = not message.get("more_body", False)
            return message

        return limited


def answer(path: str, request_id: str, error: ApiError) -> Response:
    """An error as the face of a path tells it."""
    headers = {"x-request-id": request_id, **error.headers}
    return JSONResponse(face_of(path).error(error, request_id), error.type.status, headers)


def new_request_id() -> str:
    return f"r_{secrets.token_hex(8)}"
