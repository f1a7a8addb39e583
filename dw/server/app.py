"""The application: routes, keys, request ids, and one shape for every error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import Scope

import dw
from dw.errors import DwError
from dw.server.api_error import ApiError, of_validation
from dw.server.edge import Edge, Refused, answer
from dw.server.health import health_api
from dw.server.huggingface import huggingface_api
from dw.server.metrics import METHODS, Metrics, Timed, metrics_api
from dw.server.native import native_api
from dw.server.openai import batches_of, openai_api
from dw.server.openapi import describe
from dw.server.page import page
from dw.server.replicate import replicate_api
from dw.server.retention import Retention
from dw.server.runpod_paths import runpod_api
from dw.server.service import Service
from dw.server.sweeps import sweeps_api
from dw.server.tracing import Traced, Tracing
from dw.server.worker_api import worker_api

_log = logging.getLogger(__name__)


def create_app(service: Service) -> FastAPI:
    batches = batches_of(service)
    retention = Retention(service, batches)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        pruning = asyncio.create_task(retention.keep_to_limits())
        yield
        pruning.cancel()
        if tracing is not None:
            await run_in_threadpool(tracing.close)

    app = FastAPI(
        lifespan=lifespan,
        title="dw",
        version=dw.__version__,
        description="Runs diffusers workflows on models that stay loaded.",
        redirect_slashes=False,
    )
    metrics = Metrics(service.queue)
    app.include_router(health_api(service))
    app.include_router(metrics_api(metrics))
    app.include_router(native_api(service))
    app.include_router(openai_api(service, batches))
    app.include_router(runpod_api(service))
    app.include_router(replicate_api(service))
    app.include_router(huggingface_api(service))
    app.include_router(sweeps_api(service))
    app.include_router(worker_api(service))
    app.include_router(page(service))

    app.add_middleware(Edge, keys=service.keys, limits=service.limits)
    app.add_middleware(Timed, metrics=metrics)
    if (tracing := Tracing.wanted(service.queue.store)) is not None:
        service.queue.on_change.append(tracing.changed)
        app.add_middleware(Traced, tracing=tracing)

    def told(request: Request, error: ApiError) -> Response:
        # Not request.url: a caller's `Host` is part of it, and may be nonsense.
        return answer(request.scope["path"], request.state.request_id, error)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return told(request, error)

    @app.exception_handler(Refused)
    async def refused(request: Request, error: Refused) -> Response:
        return told(request, error.error)

    @app.exception_handler(DwError)
    async def dw_error(request: Request, error: DwError) -> Response:
        return told(request, ApiError.of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return told(request, of_validation(error.errors()))

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        name = {404: "not_found", 405: "method_not_allowed"}.get(
            error.status_code, "invalid_request"
        )
        headers = {"allow": ", ".join(allowed(request.scope))} if name.startswith("method") else {}
        message = f"{request.method} {request.scope['path']}: {str(error.detail).lower()}"
        return told(request, ApiError(name, message, headers=headers))

    @app.exception_handler(ClientDisconnect)
    async def left(request: Request, _: ClientDisconnect) -> Response:
        return told(request, ApiError("cancelled", "the caller left"))  # to nobody

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> Response:
        _log.error("[%s] operation failed: %s", request.state.request_id, error, exc_info=error)
        message = "something in dw itself went wrong; its log has the request id"
        return told(request, ApiError("internal_error", message))

    def allowed(scope: Scope) -> list[str]:
        """The methods that a path takes: several routes may share it."""
        return [
            method
            for method in METHODS
            for route in app.router.routes
            if route.matches({**scope, "method": method})[0] is Match.FULL
        ]

    describe(app, service)
    return app
