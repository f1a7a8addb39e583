"""Metrics for Prometheus, by the names that dashboards of such services use.

Labels are names of workflows, states and error types: known sets, never a prompt or an id.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dw.jobs.job import ACTIVE, Job, JobState
from dw.jobs.queue import JobQueue
from dw.server.run_metrics import RunMetrics
from dw.server.strict import StrictRoute

BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
METHODS = ("DELETE", "GET", "POST", "PUT")
"""Of the API; any other is a stranger's."""

LONG_BUCKETS_S = (*BUCKETS_S, 163.84, 327.68, 655.36)
"""Doubling, as OpenTelemetry advises for generative models; an image takes longer than a token."""


class Metrics:
    """What has happened since the server's start. `queue` is asked for what is true now."""

    def __init__(self, queue: JobQueue) -> None:
        self.registry = CollectorRegistry()
        self._queue = queue
        self._since: dict[str, tuple[JobState, float]] = {}
        self._jobs = Counter(
            "dw_jobs",
            "Jobs that have ended.",
            ["workflow", "state", "error_type"],
            registry=self.registry,
        )
        self._duration = Histogram(
            "dw_job_duration_seconds",
            "From acceptance to the end of a job.",
            ["workflow"],
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )
        self._phases = Histogram(
            "dw_job_phase_seconds",
            "In each state of a job: queued, loading, running, uploading.",
            ["workflow", "state"],
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )
        self._waits = Histogram(
            "dw_queue_wait_seconds",
            "From acceptance to the worker.",
            ["workflow"],
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )
        self._uploads = Histogram(
            "dw_upload_seconds",
            "Of a job's results, with what it took to read them back.",
            ["workflow"],
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )
        self._uploaded = Counter(
            "dw_upload_bytes", "Bytes in the storage.", ["workflow"], registry=self.registry
        )
        self._bytes = Counter(
            "dw_result_bytes", "Bytes of results.", ["workflow"], registry=self.registry
        )
        self._deaths = Counter(
            "dw_worker_deaths", "Workers that died of a job.", ["workflow"], registry=self.registry
        )
        self.requests = Histogram(
            "http_server_request_duration_seconds",
            "Duration of HTTP requests.",
            ["http_request_method", "http_route", "http_response_status_code"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.active = Gauge(
            "http_server_active_requests",
            "Requests that are being answered.",
            ["http_request_method"],
            registry=self.registry,
        )
        self._calls = Histogram(
            "gen_ai_server_request_duration_seconds",
            "From acceptance to the end of a job.",
            ["gen_ai_operation_name", "gen_ai_output_type", "gen_ai_request_model", "error_type"],
            buckets=LONG_BUCKETS_S,
            registry=self.registry,
        )
        self.registry.register(_Now(queue))
        self._runs = RunMetrics(self.registry)
        queue.on_change.append(self._changed)
        queue.on_event.append(self._runs.heard)

    def _changed(self, job: Job) -> None:
        """A job has another state. Called with the queue's lock held."""
        workflow, now = job.request.workflow, time.monotonic()
        if (before := self._since.pop(job.id, None)) is not None:
            state, since = before
            self._phases.labels(workflow, state).observe(now - since)
            if state is JobState.QUEUED:
                self._waits.labels(workflow).observe(now - since)
            if state is JobState.UPLOADING and job.request.storage:
                self._uploads.labels(workflow).observe(now - since)
                uploaded = sum(each.nbytes for each in job.artifacts if each.key)
                self._uploaded.labels(workflow).inc(uploaded)
            if job.state is JobState.QUEUED and job.deaths:
                self._deaths.labels(workflow).inc()
        if not job.state.is_final:
            self._since[job.id] = job.state, now
            return
        error_type = job.error.error_type if job.error else ""
        self._jobs.labels(workflow, job.state, error_type).inc()
        if job.ended is not None:
            took_s = job.ended - job.created
            self._duration.labels(workflow).observe(took_s)
            kind = job.artifacts[0].content_type.partition("/")[0] if job.artifacts else ""
            self._calls.labels("generate_content", kind, workflow, error_type).observe(took_s)
        if job.state is JobState.SUCCEEDED:
            self._bytes.labels(workflow).inc(sum(each.nbytes for each in job.artifacts))


class _Now:
    """What is true when Prometheus asks."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def collect(self) -> Iterator[Metric]:
        waiting = GaugeMetricFamily("dw_jobs_queued", "Jobs that wait.", labels=["workflow"])
        running = GaugeMetricFamily(
            "dw_jobs_running", "Jobs that a worker has.", labels=["workflow"]
        )
        for workflow, counts in self._queue.store.counts_by_workflow().items():
            waiting.add_metric([workflow], counts[JobState.QUEUED])
            running.add_metric([workflow], sum(counts[state] for state in ACTIVE))
        yield waiting
        yield running
        up = GaugeMetricFamily("dw_worker_up", "Whether a worker can take work.", labels=["worker"])
        restarts = GaugeMetricFamily(
            "dw_worker_crashes_in_a_row", "Of a worker.", labels=["worker"]
        )
        memory = GaugeMetricFamily(
            "dw_worker_resident_bytes", "Host memory of a worker.", labels=["worker"]
        )
        for slot in self._queue.slots:
            status = slot.client.status()
            up.add_metric([slot.name], status.restarts < status.most_restarts)
            restarts.add_metric([slot.name], status.restarts)
            memory.add_metric([slot.name], status.rss or status.standby_rss or 0)
        started = GaugeMetricFamily(
            "dw_start_seconds", "Stages of a worker's cold start.", labels=["worker", "stage"]
        )
        for name, cold in self._queue.cold_starts.items():
            took_s: dict[str, float] = {}
            for stage in cold.stages:  # load: of each component
                took_s[stage.name] = took_s.get(stage.name, 0.0) + stage.seconds
            for each, seconds in took_s.items():
                started.add_metric([name, each], seconds)
        yield started
        yield up
        yield restarts
        yield memory


class Timed:
    """Middleware: the duration of each request, by the route that answered it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500
        active = self._metrics.active.labels(scope["method"] if scope["method"] in METHODS else "")
        active.inc()

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            active.dec()
            # An unknown path is no label: strangers could make as many as they like.
            route = getattr(scope.get("route"), "path", "")
            labels = (scope["method"] if route else "", route, str(status))
            self._metrics.requests.labels(*labels).observe(time.perf_counter() - begun)


def metrics_api(metrics: Metrics) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {CONTENT_TYPE_LATEST: {"schema": {"type": "string"}}}}},
    )
    def exposition() -> Response:
        """In Prometheus's text format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router
