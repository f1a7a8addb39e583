"""What is seen from outside: metrics and logs."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dw import events
from dw.jobs.job import JobState
from dw.server.logs import JsonFormatter
from tests.jobs.test_queue import hang, until
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer


def samples(server: RunningServer) -> dict[tuple[str, str], float]:
    """The value of each sample, by its name and its labels."""
    text = server.http.get("/metrics").text
    return {
        (sample.name, ",".join(v for k, v in sorted(sample.labels.items()) if k != "le")): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_jobs_are_counted_by_how_they_ended(server: RunningServer) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke"))]
    for _ in range(3):
        server.ended(server.submit())
    found = samples(server)
    assert found["dw_jobs_total", ",succeeded,demo"] == 2
    assert found["dw_jobs_total", "execution_error,failed,demo"] == 1
    assert found["dw_job_duration_seconds_count", "demo"] == 3
    assert found["dw_job_phase_seconds_count", "running,demo"] == 3
    assert found["dw_result_bytes_total", "demo"] == 200


def test_what_waits_and_runs_is_told(server: RunningServer) -> None:
    server.worker.answers = [hang]
    job_ids = [server.submit() for _ in range(3)]
    until(server.service.queue, job_ids[0], [JobState.RUNNING])
    found = samples(server)
    assert (found["dw_jobs_queued", "demo"], found["dw_jobs_running", "demo"]) == (2, 1)
    assert found["dw_worker_up", "cpu0"] == 1


def test_requests_are_timed_by_route_and_strangers_make_no_labels(server: RunningServer) -> None:
    server.http.get("/v1/workflows/demo")
    server.http.get("/v1/workflows/none")
    for path in ("/a", "/b", "/c?d=e"):
        server.http.get(path)
    found = samples(server)
    name = "http_server_request_duration_seconds_count"
    assert found[name, "GET,200,/v1/workflows/{name}"] == 1
    assert found[name, "GET,404,/v1/workflows/{name}"] == 1
    assert found[name, ",404,"] == 3


def test_a_log_line_is_json_with_the_ids(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    answer = server.http.post(
        "/v1/jobs", json={"workflow": "demo"}, headers={"x-request-id": "mine"}
    )
    job_id = answer.json()["id"]
    server.ended(job_id)
    lines: list[dict[str, Any]] = [
        json.loads(JsonFormatter().format(record))
        for record in caplog.records
        if record.name == "dw.jobs.queue"
    ]
    told = [line["message"] for line in lines]
    assert told == [f"[{job_id}] {state}" for state in ("queued", "loading", "succeeded")]
    assert {(line["job_id"], line["request_id"]) for line in lines} == {(job_id, "mine")}
