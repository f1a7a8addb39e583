"""Spans, as a collector of OpenTelemetry receives them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from dw import events
from tests.repl.fake import ending_with
from tests.server.conftest import Start

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
WITHIN_S = 20.0


class Collector:
    """Takes OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.has_more = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name that http.server wants
                assert self.path == "/v1/traces"
                size = int(self.headers["content-length"])
                told = ExportTraceServiceRequest.FromString(self.rfile.read(size))
                with collector.has_more:
                    for resource in told.resource_spans:
                        for scope in resource.scope_spans:
                            collector.spans += scope.spans
                    collector.has_more.notify_all()
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def of_trace(self, names: set[str]) -> dict[str, Span]:
        """The spans of the caller's trace by name, when there are all of these."""

        def found() -> dict[str, Span]:
            return {each.name: each for each in self.spans if each.trace_id.hex() == TRACE}

        with self.has_more:
            assert self.has_more.wait_for(lambda: names <= set(found()), WITHIN_S), found()
            return found()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    url = f"http://127.0.0.1:{made.server.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    yield made
    made.close()


def test_the_callers_trace_goes_on_through_the_states_of_a_job(
    collector: Collector, start: Start
) -> None:
    server = start()
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    job = server.http.post("/v1/jobs", json={"workflow": "demo"}, headers=headers).json()["id"]
    server.ended(job)
    spans = collector.of_trace({"POST /v1/jobs", "queue", "load", "run", "upload"})
    request = spans.pop("POST /v1/jobs")
    assert request.parent_span_id.hex() == CALLER
    assert request.kind == Span.SPAN_KIND_SERVER
    attributes = {each.key: each.value for each in request.attributes}
    assert attributes["http.response.status_code"].int_value == 202
    assert {each.parent_span_id for each in spans.values()} == {request.span_id}
    names = ["queue", "load", "run", "upload"]
    for before, after in pairwise(names):
        assert spans[before].end_time_unix_nano == spans[after].start_time_unix_nano
    told = {each.key: each.value.string_value for each in spans["run"].attributes}
    assert told == {"dw.job_id": job, "gen_ai.request.model": "demo"}


def test_a_failure_is_told_in_its_span(collector: Collector, start: Start) -> None:
    server = start(answers=[ending_with(lambda n: events.Failed(n, "run", "it broke"))])
    headers = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
    server.http.post("/generate", json={"workflow": "demo"}, headers=headers)
    run = collector.of_trace({"run"})["run"]
    assert (run.status.code, run.status.message) == (2, "it broke")
