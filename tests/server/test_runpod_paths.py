"""RunPod's own client, unmodified, against a real server."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path
from typing import Any

import pytest
import runpod
from runpod.endpoint.runner import RunPodClient

from dw import events
from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import hang, until, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start


def endpoint(server: RunningServer, monkeypatch: pytest.MonkeyPatch, key: str = "any") -> Any:
    monkeypatch.setattr(runpod, "endpoint_url_base", f"{server.url}/v2")
    found = runpod.Endpoint("demo", api_key=key)
    assert isinstance(found.rp_client, RunPodClient)
    return found


def test_a_call_that_waits_gets_the_image(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    client = endpoint(server, monkeypatch)
    output = client.run_sync({"input": {"prompt": "a hen", "seed": 7}})
    assert output["status"] == "success"
    (image,) = output["output"]
    assert (image["filename"], image["type"]) == ("a.png", "image/png")
    assert base64.b64decode(image["data"]) == b"picture"
    assert output["metrics"]["num_samples"] == 1
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert (run.arguments, run.seed) == ({"prompt": "a hen"}, 7)


def test_a_job_outlives_the_wait_of_its_caller(server: RunningServer) -> None:
    server.worker.answers = [hang]
    answer = server.http.post("/v2/demo/runsync?wait=1000", json={"input": {}}).json()
    assert answer["status"] == "IN_PROGRESS"
    assert server.http.get(f"/v1/jobs/{answer['id']}").json()["state"] == "running"
    server.http.post(f"/v1/jobs/{answer['id']}/cancel")


def test_an_empty_input_is_unwrapped(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    assert endpoint(server, monkeypatch).run_sync({"input": {}})["status"] == "success"


def test_a_job_is_followed_and_cancelled(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.worker.answers = [hang]
    job = endpoint(server, monkeypatch).run({"input": {"prompt": "a hen"}})
    until(server.service.queue, job.job_id, [JobState.RUNNING])
    assert job.status() == "IN_PROGRESS"
    job.cancel()
    until(server.service.queue, job.job_id)
    assert job.status() == "CANCELLED"
    assert list(job.stream()) == []


def test_a_result_streams_as_one_chunk(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    job = endpoint(server, monkeypatch).run({"input": {}})
    until(server.service.queue, job.job_id)
    (chunk,) = job.stream()
    assert chunk["status"] == "success"


@pytest.mark.parametrize(
    ("given", "error_type", "message"),
    [
        ({"promt": "x"}, "unknown_field", "unknown field 'promt' (did you mean 'prompt'?)"),
        ({"prompt": 3}, "invalid_type", "prompt must be a string, got 3"),
    ],
)
def test_a_refusal_says_the_same_in_its_output(
    server: RunningServer,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    error_type: str,
    message: str,
) -> None:
    output = endpoint(server, monkeypatch).run_sync({"input": given})
    assert output == {
        "status": "error",
        "error": message,
        "error_type": error_type,
        "message": message,
    }
    assert not server.worker.commands


def test_a_failure_says_the_same_in_its_output(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "resources", "no memory"))]
    output = endpoint(server, monkeypatch).run_sync({"input": {"prompt": "x"}})
    assert output["error_type"] == "out_of_memory"
    assert output["error"] == output["message"] == "no memory"


@pytest.mark.parametrize(
    ("method", "verb"),
    [
        *(("GET", "status"), ("POST", "status"), ("GET", "stream")),
        *(("POST", "cancel"), ("POST", "retry")),
    ],
)
def test_a_job_is_not_shown_by_another_endpoint(
    server: RunningServer, workflows: Path, method: str, verb: str
) -> None:
    shutil.copy(workflows / "demo.json", workflows / "other.json")
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke"))]
    job_id = server.submit()
    before = server.ended(job_id)
    answer = server.http.request(method, f"/v2/other/{verb}/{job_id}")
    assert (answer.status_code, answer.json()["error_type"]) == (404, "job_not_found")
    assert server.http.get(f"/v1/jobs/{job_id}").json() == before
    assert server.http.get(f"/v2/demo/status/{job_id}").json()["status"] == "FAILED"


def test_health_and_purge(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    client = endpoint(server, monkeypatch)
    server.worker.answers = [hang]
    running = client.run({"input": {}})
    until(server.service.queue, running.job_id, [JobState.RUNNING])
    for _ in range(3):
        client.run({"input": {}})
    jobs = client.health()["jobs"]
    assert (jobs["inProgress"], jobs["inQueue"]) == (1, 3)
    assert client.purge_queue() == {"removed": 3, "status": "completed"}
    assert client.health()["jobs"]["inQueue"] == 0
    running.cancel()


def test_a_key_without_bearer_is_taken_and_a_wrong_one_is_not(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(keys=frozenset({"rp-one"}))
    assert "jobs" in endpoint(server, monkeypatch, "rp-one").health()
    with pytest.raises(RuntimeError, match="401"):
        endpoint(server, monkeypatch, "rp-two").health()
