"""The application: routes, keys, request ids, and one shape for every error."""

from __future__ import annotations

import logging
import re
import secrets

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import dw
from dw.errors import DwError
from dw.server import openai
from dw.server.access import Keys
from dw.server.api_error import ApiError, of_validation
from dw.server.health import health_api
from dw.server.logs import request_id as logged_request_id
from dw.server.metrics import Metrics, Timed, metrics_api
from dw.server.native import native_api
from dw.server.page import page
from dw.server.runpod_paths import runpod_api
from dw.server.service import Service
from dw.server.worker_api import worker_api

LARGEST_BODY = 32 * 2**20  # bytes
OPEN_PATHS = frozenset({"/livez", "/readyz", "/ping"})
"""Paths that need no key, and say nothing of jobs."""

PAGES = ("/workflows", "/jobs", "/docs")
"""Paths that people see in a browser, which asks for the key as a password."""

_REQUEST_ID = re.compile(r"[\w.-]{1,128}")
_log = logging.getLogger(__name__)


def create_app(service: Service) -> FastAPI:
    app = FastAPI(
        title="dw",
        version=dw.__version__,
        description="Runs diffusers workflows on models that stay loaded.",
        max_body_size=LARGEST_BODY,
    )
    metrics = Metrics(service.queue)
    app.include_router(health_api(service))
    app.include_router(metrics_api(metrics))
    app.include_router(native_api(service))
    app.include_router(openai.openai_api(service))
    app.include_router(runpod_api(service))
    app.include_router(worker_api(service))
    app.include_router(page(service))

    app.add_middleware(Identified, keys=service.keys)
    app.add_middleware(Timed, metrics=metrics)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return answer(request, error)

    @app.exception_handler(DwError)
    async def dw_error(request: Request, error: DwError) -> Response:
        return answer(request, ApiError.of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return answer(request, of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        name = {404: "not_found", 405: "method_not_allowed", 413: "payload_too_large"}.get(
            error.status_code, "invalid_request"
        )
        path = f"{request.method} {request.url.path}"
        return answer(request, ApiError(name, f"{path}: {str(error.detail).lower()}"))

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        _log.error("[%s] operation failed: %s", request.state.request_id, error, exc_info=error)
        message = "something in dw itself went wrong; its log has the request id"
        return answer(request, ApiError("internal_error", message))

    return app


class Identified:
    """Middleware: every answer has the caller's `x-request-id`, or a new one, and a caller without
    a key gets no further."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"r_{secrets.token_hex(8)}"
        request.state.request_id = request_id
        logged_request_id.set(request_id)

        async def identified(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        is_open = request.url.path in OPEN_PATHS
        if is_open or self._keys.accept(request.headers.get("authorization")):
            await self._app(scope, receive, identified)
        else:
            refused = answer(
                request, ApiError("invalid_api_key", "the API key is missing or wrong")
            )
            if request.url.path == "/" or request.url.path.startswith(PAGES):
                refused.headers["www-authenticate"] = (
                    'Basic realm="dw: the API key is the password"'
                )
            await refused(scope, receive, identified)


def answer(request: Request, error: ApiError) -> Response:
    is_openai = request.url.path.startswith(openai.PATHS)
    body = error.to_openai() if is_openai else error.to_json(request.state.request_id)
    return JSONResponse(body, error.type.status, error.headers)
