"""The native API, over HTTP on loopback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dw import events
from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import DIES, hang, until, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start


def test_a_job_is_accepted_and_followed_to_its_result(
    server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    answer = server.http.post(
        "/v1/jobs", json={"workflow": "demo", "arguments": {"prompt": "a hen"}, "seed": 7}
    )
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["seed"], job["arguments"]) == ("queued", 7, {"prompt": "a hen"})
    ended = server.ended(job["id"])
    assert (ended["state"], ended["error"]) == ("succeeded", None)
    (output,) = ended["outputs"]
    data = server.http.get(output["url"])
    assert (data.content, data.headers["content-type"]) == (b"picture", "image/png")
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert (run.arguments, run.seed) == ({"prompt": "a hen"}, 7)


def test_events_are_resumed_after_the_last_one_seen(server: RunningServer) -> None:
    job_id = server.submit()
    server.ended(job_id)
    every = list(sse(server, job_id))
    assert [e["event"] for _, e in every][:2] == ["JobState", "JobState"]
    assert [number for number, _ in every] == sorted({number for number, _ in every})
    third = every[2][0]
    assert list(sse(server, job_id, last=third)) == every[3:]


def sse(server: RunningServer, job_id: str, last: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    headers = {"last-event-id": str(last)} if last else {}
    with server.http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        fields: dict[str, str] = {}
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if line:
                fields[name] = value
            elif "data" in fields:
                event = json.loads(fields["data"])
                assert event["event"] == fields["event"]
                yield int(fields["id"]), event
                fields = {}


def test_creation_is_idempotent(server: RunningServer) -> None:
    body = {"workflow": "demo", "seed": 1}
    first = server.http.put("/v1/jobs/j_0123456789ab", json=body)
    again = server.http.put("/v1/jobs/j_0123456789ab", json=body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json()["id"] == "j_0123456789ab"
    other = server.http.put("/v1/jobs/j_0123456789ab", json=body | {"seed": 2})
    assert (other.status_code, error(other)["error_type"]) == (409, "idempotency_conflict")
    keyed = [
        server.http.post("/v1/jobs", json=body, headers={"idempotency-key": "once"}).json()["id"]
        for _ in range(2)
    ]
    assert keyed[0] == keyed[1] != "j_0123456789ab"
    assert len(server.http.get("/v1/jobs").json()["jobs"]) == 2


def error(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = answer.json()["error"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


@pytest.mark.parametrize(
    ("body", "status", "error_type", "message"),
    [
        ({}, 400, "missing_field", "Missing required field: 'workflow'"),
        ({"workflow": "demo", "sed": 1}, 400, "unknown_field", "unknown field 'sed'"),
        ({"workflow": 7}, 400, "invalid_type", "workflow: Input should be a valid string"),
        ({"workflow": "demo", "seed": True}, 400, "invalid_type", "seed: "),
        ({"workflow": "demo", "seed": -1}, 400, "invalid_value", "seed: "),
        ({"workflow": "demo", "timeout_s": 0}, 400, "invalid_value", "timeout_s: "),
        ({"workflow": "deom"}, 404, "workflow_not_found", "did you mean 'demo'?"),
        ({"workflow": "../demo"}, 404, "workflow_not_found", "unknown workflow '../demo'"),
        (
            {"workflow": "demo", "arguments": {"promt": "x"}},
            400,
            "unknown_field",
            "did you mean 'prompt'?",
        ),
        (
            {"workflow": "demo", "arguments": {"num_inference_steps": "many"}},
            400,
            "invalid_type",
            "num_inference_steps",
        ),
    ],
)
def test_a_bad_request_is_told_and_no_worker_hears_of_it(
    server: RunningServer, body: dict[str, Any], status: int, error_type: str, message: str
) -> None:
    answer = server.http.post("/v1/jobs", json=body)
    assert (answer.status_code, error(answer)["error_type"]) == (status, error_type)
    assert message in error(answer)["message"]
    assert not server.worker.commands


JSON = {"content-type": "application/json"}


def test_other_bad_requests(server: RunningServer) -> None:
    for answer, status, error_type in (
        (server.http.post("/v1/jobs", content=b"{", headers=JSON), 400, "invalid_request"),
        (server.http.get("/v1/jobs/j_000000000000"), 404, "job_not_found"),
        (server.http.get("/v1/jobs/j_000000000000/events"), 404, "job_not_found"),
        (server.http.get("/nowhere"), 404, "not_found"),
        (server.http.delete("/v1/jobs"), 405, "method_not_allowed"),
        (server.http.get("/v1/jobs?limit=0"), 400, "invalid_value"),
    ):
        assert (answer.status_code, error(answer)["error_type"]) == (status, error_type)


def test_a_request_keeps_its_id(server: RunningServer) -> None:
    answer = server.http.get("/livez", headers={"x-request-id": "mine-7"})
    assert answer.headers["x-request-id"] == "mine-7"
    forged = server.http.get("/livez", headers={"x-request-id": "a b\tc"})
    assert forged.headers["x-request-id"].startswith("r_")


def test_a_running_job_is_cancelled(server: RunningServer) -> None:
    server.worker.answers = [hang]
    job_id = server.submit()
    until(server.service.queue, job_id, [JobState.RUNNING])
    server.http.post(f"/v1/jobs/{job_id}/cancel")
    assert server.ended(job_id)["state"] == "cancelled"


def test_a_retry_of_what_has_succeeded_is_refused(server: RunningServer) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke"))]
    job_id = server.submit()
    failed = server.ended(job_id)
    assert failed["error"]["error_type"] == "execution_error"
    assert server.http.post(f"/v1/jobs/{job_id}/retry").json()["state"] == "queued"
    assert server.ended(job_id)["state"] == "succeeded"
    answer = server.http.post(f"/v1/jobs/{job_id}/retry")
    assert (answer.status_code, error(answer)["error_type"]) == (409, "not_retryable")


def test_generate_waits_and_tells_errors_with_their_status(server: RunningServer) -> None:
    answer = server.http.post("/generate", json={"workflow": "demo"})
    assert (answer.status_code, answer.json()["state"]) == (200, "succeeded")
    server.worker.answers = [DIES]
    answer = server.http.post("/generate", json={"workflow": "demo"})
    assert (answer.status_code, error(answer)["error_type"]) == (500, "worker_crashed")
    assert answer.headers["x-should-retry"] == "false"


def test_a_caller_who_leaves_takes_his_job_along(server: RunningServer) -> None:
    server.worker.answers = [hang]
    with pytest.raises(Exception, match="timed out"):
        server.http.post("/generate", json={"workflow": "demo"}, timeout=2.0)
    (job,) = server.http.get("/v1/jobs").json()["jobs"]
    assert server.ended(job["id"])["state"] == "cancelled"


def test_keys_are_needed_where_there_are_some(start: Start) -> None:
    server = start(keys=frozenset({"sk-one"}))
    assert server.http.get("/v1/jobs").status_code == 200
    bare = {"authorization": "sk-one"}
    assert server.http.get("/v1/jobs", headers=bare).status_code == 200
    for wrong in ("", "Bearer", "Bearer sk-two", "Bearer sk-on", "Basic sk-one"):
        answer = server.http.get("/v1/jobs", headers={"authorization": wrong})
        assert (answer.status_code, error(answer)["error_type"]) == (401, "invalid_api_key")
        assert answer.headers["www-authenticate"] == "Bearer"
    for path in ("/livez", "/readyz", "/ping"):
        assert server.http.get(path, headers={"authorization": ""}).status_code == 200


def test_what_is_served_is_listed_and_read_again_when_it_changes(
    server: RunningServer, workflows: Path
) -> None:
    names = [each["name"] for each in server.http.get("/v1/workflows").json()["workflows"]]
    assert "demo" in names
    shown = server.http.get("/v1/workflows/demo").json()
    assert [each["name"] for each in shown["arguments"]] == [
        *("prompt", "num_inference_steps", "seed")
    ]
    text = (workflows / "demo.json").read_text()
    (workflows / "demo.json").write_text(text.replace("a cat", "a dog"))
    changed = server.http.get("/v1/workflows/demo").json()
    assert changed["arguments"][0]["default"] == "a dog"


def test_a_server_that_drains_says_so(server: RunningServer) -> None:
    server.service.queue.close(0.0)
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, "draining")
    assert "retry-after" in ready.headers
    assert server.http.get("/livez").status_code == 200
    answer = server.http.post("/v1/jobs", json={"workflow": "demo"})
    assert (answer.status_code, error(answer)["error_type"]) == (503, "shutting_down")
