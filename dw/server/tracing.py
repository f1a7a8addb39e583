"""Tracing: spans of requests and jobs for OpenTelemetry, where OTEL_EXPORTER_OTLP_ENDPOINT is set.

The variables are those of OpenTelemetry's own SDK. A caller's `traceparent` is continued.
"""

from __future__ import annotations

import os
from itertools import pairwise
from typing import Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import dw
from dw.extras import needing
from dw.jobs import log_ids
from dw.jobs.job import Job, JobState
from dw.jobs.store import JobStore

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
SPANS = {
    JobState.QUEUED: "queue",
    JobState.LOADING: "load",
    JobState.RUNNING: "run",
    JobState.UPLOADING: "upload",
}
"""The name of the span of each state."""


class Tracing:
    """Raises RunFailed where OpenTelemetry's packages are missing."""

    def __init__(self, store: JobStore) -> None:
        with needing("opentelemetry"):
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.trace import SpanKind, StatusCode
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        name = os.environ.get("OTEL_SERVICE_NAME", "dw")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("dw", dw.__version__)
        self._extract = TraceContextTextMapPropagator().extract
        self._server, self._error = SpanKind.SERVER, StatusCode.ERROR
        self._store = store

    @classmethod
    def wanted(cls, store: JobStore) -> Tracing | None:
        return cls(store) if os.environ.get(ENDPOINT) else None

    def request(self, method: str, headers: Headers) -> Any:
        """A span of a request, which the caller ends; jobs that are made in it belong to it."""
        span = self._tracer.start_span(method, self._extract(headers), self._server)
        context = span.get_span_context()
        log_ids.traceparent.set(
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )
        return span

    def changed(self, job: Job) -> None:
        """A job has another state: when it has ended, each state before becomes a span."""
        if not job.state.is_final:
            return
        told = [e for _, e in self._store.events(job.id) if e["event"] == "JobState"]
        parent = self._extract({"traceparent": job.request.traceparent})
        for now, then in pairwise(told):
            if (name := SPANS.get(JobState(now["state"]))) is None:
                continue  # it had ended, and was tried again
            span = self._tracer.start_span(name, parent, start_time=_nanoseconds(now["time"]))
            span.set_attribute("dw.job_id", job.id)
            span.set_attribute("gen_ai.request.model", job.request.workflow)
            if (error := then.get("error")) is not None:
                span.set_attribute("error.type", error["error_type"])
                span.set_status(self._error, error["message"])
            span.end(_nanoseconds(then["time"]))

    def close(self) -> None:
        """Send what has not been sent."""
        self._provider.shutdown()


class Traced:
    """Middleware: a span for each request, by the route that answered it."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        span = self._tracing.request(scope["method"], Headers(scope=scope))

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                span.set_attribute("http.response.status_code", message["status"])
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            if route := getattr(scope.get("route"), "path", ""):
                span.update_name(f"{scope['method']} {route}")
                span.set_attribute("http.route", route)
            span.set_attribute("http.request.method", scope["method"])
            span.end()


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
