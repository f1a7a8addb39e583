"""Bad requests: each is refused in the shape of its face, and no worker hears of it."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests.server.bad_predictions import HUGGINGFACE, REPLICATE
from tests.server.bad_requests import (
    FILES_AND_BATCHES,
    NATIVE,
    OPENAI,
    RUNPOD,
    RUNPOD_INPUTS,
    Bad,
)
from tests.server.conftest import RunningServer

FACES = {
    "native": NATIVE,
    "openai": OPENAI,
    "files and batches": FILES_AND_BATCHES,
    "runpod": RUNPOD,
    "hugging face": HUGGINGFACE,
    "replicate": REPLICATE,
}
SAYS = {"runpod": "message", "replicate": "detail"}
"""Where the faces without a `param` name the field at fault."""


@pytest.mark.parametrize("face", FACES)
def test_bad_requests_are_refused_and_no_worker_hears_of_them(
    face: str, server: RunningServer, subtests: pytest.Subtests
) -> None:
    rows = FACES[face]
    assert len(rows) >= 50
    before = server.http.get("/v1/workers").json()
    for row in rows:
        with subtests.test(row.name):
            answer = server.http.request(
                row.method,
                row.path,
                content=row.content,
                headers={"x-request-id": "r1", **row.headers},
            )
            check(face, row, answer)
    assert server.http.get("/v1/workers").json() == before
    assert not server.worker.commands
    assert server.http.get("/v1/jobs").json() == {"jobs": []}
    assert server.http.get("/v1/files").json()["data"] == [], "what came with them is not kept"


def check(face: str, row: Bad, answer: httpx.Response) -> None:
    body = answer.json()
    assert (answer.status_code, error_type(face, body)) == (row.status, row.error_type), body
    assert answer.headers["x-request-id"] == "r1"
    assert answer.headers["x-should-retry"] == "false"
    assert ("allow" in answer.headers) == (row.status == 405)
    assert "Traceback" not in answer.text
    if row.param is not None and face in SAYS:
        assert row.param in body[SAYS[face]]
    elif row.param is not None:
        error = body if face == "hugging face" else body["error"]
        assert error["param"] == row.param


def error_type(face: str, body: dict[str, Any]) -> str:
    """The error type of an error of a face, which has the face's shape."""
    if face == "native":
        keys = ("error_type", "message", "param", "retryable", "request_id", "hints", "details")
        error = body["error"]
        assert (set(body), set(error), error["request_id"]) == ({"error"}, set(keys), "r1")
        assert error["message"]
        return str(error["error_type"])
    if face == "runpod":
        assert set(body) == {"status", "error", "error_type", "message"}
        assert (body["status"], body["error"]) == ("error", body["message"])
        return str(body["error_type"])
    if face == "hugging face":
        assert set(body) == {"error", "error_type", "param", "request_id"}
        assert body["error"]
        assert body["request_id"] == "r1"
        return str(body["error_type"])
    if face == "replicate":
        assert set(body) == {"type", "title", "status", "detail", "instance"}
        assert body["detail"]
        assert body["instance"] == "r1"
        return str(body["type"])
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["error"]["type"] == "invalid_request_error"
    return str(body["error"]["code"])


def test_bad_inputs_are_jobs_that_failed_to_runpods_clients(
    server: RunningServer, subtests: pytest.Subtests
) -> None:
    for given, wanted in RUNPOD_INPUTS:
        for verb in ("run", "runsync"):
            with subtests.test(f"{verb} {given}"):
                answer = server.http.post(f"/v2/demo/{verb}", json={"input": given})
                told = answer.json()
                assert (answer.status_code, told["status"]) == (200, "FAILED")
                assert told["output"]["error_type"] == wanted
                assert told["error"] == told["output"]["error"] == told["output"]["message"]
    assert not server.worker.commands


@pytest.mark.parametrize("last", ["-1", "x", "1.5", "9" * 400])
def test_a_stream_begins_after_a_number(server: RunningServer, last: str) -> None:
    job_id = server.submit()
    answer = server.http.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": last})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "last-event-id")


def test_a_file_that_is_no_batch_is_refused(
    server: RunningServer, subtests: pytest.Subtests
) -> None:
    good = {"custom_id": "a", "url": "/v1/images/generations", "body": {"model": "demo"}}
    for text in (
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"custom_id": NaN}',
        json.dumps(good | {"method": "GET"}).encode(),
        json.dumps(good | {"url": "/v1/chat"}).encode(),
        json.dumps(good | {"custom_id": 7}).encode(),
        json.dumps(good | {"body": []}).encode(),
        json.dumps(good | {"colour": "red"}).encode(),
        b"\n".join([json.dumps(good).encode()] * 2),
        b"",
        b"\n\n",
    ):
        with subtests.test(str(text)):
            file = server.http.post(
                "/v1/files", files={"file": ("a.jsonl", text)}, data={"purpose": "batch"}
            ).json()
            wanted = {
                "input_file_id": file["id"],
                "endpoint": "/v1/images/generations",
                "completion_window": "24h",
            }
            answer = server.http.post("/v1/batches", json=wanted)
            assert answer.status_code == 400, answer.text
            assert answer.json()["error"]["param"] == "input_file_id"
    assert server.http.get("/v1/batches").json()["data"] == []
    assert not server.worker.commands
