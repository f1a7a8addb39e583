"""What is seen from outside: metrics and logs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dw import events
from dw.events import Event, Run
from dw.jobs.job import JobState
from dw.server.logs import JsonFormatter
from dw.types import OutputFile
from tests.jobs.test_queue import hang, until
from tests.repl.fake import FakeClient, ending_with, load, succeed
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
    ids = {(line["job_id"], line["request_id"], line["workflow"]) for line in lines}
    assert ids == {(job_id, "mine", "demo")}


def test_a_log_line_of_a_run_has_its_number(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    told: dict[str, list[str]] = {}
    with in_lines() as lines:
        for _ in range(2):
            server.ended(server.submit())
    for line in lines:
        if line["logger"] == "dw.jobs.queue":
            told.setdefault(line["message"].split()[-1], []).append(line.get("run_id", ""))
    numbers = [str(c.run_id) for c in server.worker.commands if isinstance(c, Run)]
    assert told == {"queued": ["", ""], "loading": ["", ""], "succeeded": numbers}


@contextmanager
def in_lines() -> Iterator[list[dict[str, Any]]]:
    """Collects what is logged, formatted by the thread that logs it."""
    lines: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(json.loads(JsonFormatter().format(record)))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    yield lines
    logging.getLogger().removeHandler(handler)


def test_what_a_worker_does_is_measured(server: RunningServer) -> None:
    server.worker.answers = [ends_with_death]
    server.ended(server.submit())
    server.ended(server.submit())
    found = samples(server)
    assert found["dw_worker_restarts_total", "signal"] == 1
    assert found["dw_model_loads_total", "demo"] >= 1
    assert found["dw_model_load_seconds_count", "demo"] == found["dw_model_loads_total", "demo"]
    assert found["dw_step_seconds_count", "demo"] > 0
    assert found["dw_queue_wait_seconds_count", "demo"] == 3
    assert found["dw_device_memory_bytes", "cpu0,allocated"] == server.worker.memory().allocated
    assert found["http_server_active_requests", "GET"] == 1
    calls = "gen_ai_server_request_duration_seconds_count"
    assert found[calls, ",generate_content,image,demo"] == 2


def test_the_cold_start_of_a_worker_is_told(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.worker.has_worker = True
    server.worker.answers = [cold]
    job_id = server.submit()
    server.ended(job_id)
    server.ended(server.submit())
    stages = server.http.get("/health").json()["workers"]["cpu0"]["cold_start"]
    assert [(stage["name"], stage["component"], stage["seconds"]) for stage in stages] == [
        ("boot", "", 3.0),
        ("load", "gen.vae", 2.0),
        ("load", "gen.unet", 5.0),
        ("first_step", "", 1.0),
        ("first_result", "", 4.0),
    ]
    (worker,) = server.http.get("/v1/workers").json()["workers"]
    assert worker["cold_start"] == stages
    assert samples(server)["dw_start_seconds", "load,cpu0"] == 7.0
    (line,) = [r for r in caplog.records if "gen.unet" in r.getMessage()]
    assert line.getMessage() == "[cpu0] cold start: load of gen.unet took 5.00 s"
    assert json.loads(JsonFormatter().format(line))["message"] == line.getMessage()


def cold(client: FakeClient, run: Run) -> Iterator[Event]:
    n = run.run_id
    yield events.Launching(n, time=100.0)
    yield events.Launched(n, 7, False, time=103.0)
    yield events.Loading(n, "gen.vae", "A", 1, 2, time=104.0)
    yield events.Loading(n, "gen.unet", "B", 2, 2, time=106.0)
    yield events.Loaded(n, "demo", 7.0, time=111.0)
    yield events.Executing(n, "demo", time=112.0)
    yield events.Stepped(n, "gen", "denoise", 1, 2, time=113.0)
    yield events.Stepped(n, "gen", "denoise", 2, 2, time=114.0)
    output = OutputFile("a.png", "image/png", 1, "ab" * 32, 64, 64)
    yield events.Produced(n, "gen", output, time=116.0)
    yield events.Finished(n, "demo", 0.5, 1, (), client.memory(), "")


def ends_with_death(client: FakeClient, run: Run) -> Iterator[Event]:
    client.loaded = None
    yield from load(client, run)
    client.loaded = None
    yield events.Died(run.run_id, "signal", "killed by signal 9", pid=7)


def test_lines_of_a_jobs_own_thread_have_its_ids(
    server: RunningServer, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[dict[str, Any]] = []

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        record = logging.getLogger("other").makeRecord("other", 20, "", 0, "x", (), None)
        told.append(json.loads(JsonFormatter().format(record)))
        yield from succeed(client, run)

    server.worker.answers = [answer]
    job = server.http.post(
        "/v1/jobs", json={"workflow": "demo"}, headers={"x-request-id": "mine"}
    ).json()["id"]
    server.ended(job)
    assert (told[0]["job_id"], told[0]["request_id"]) == (job, "mine")
