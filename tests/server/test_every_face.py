"""The same request gets the same answer on every face that runs jobs for others."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dw import events
from dw.events import Event
from dw.jobs.requirements import InitializationFailed
from dw.runpod.handler import Handler
from dw.types import Diagnostic
from tests.jobs.test_queue import writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start

HEADSHOT = Path(__file__).parents[2] / "examples" / "service" / "headshot.json"
NO_CUDA = "CUDA is not available. This worker requires a GPU."
NO_VARIABLE = "SUPABASE_URL environment variable is required"
GOOD = {"prompt": "two blue squares", "user_id": "u_1"}

MISSING = json.dumps(
    {
        "id": "bad",
        "steps": [
            {
                "name": "gen",
                "pipeline": {
                    "configuration": {"component_type": "FluxPipeline"},
                    "from_pretrained_arguments": {"model_name": "./nowhere"},
                    "arguments": {"prompt": "a cat"},
                },
                "result": {"content_type": "image/png"},
            }
        ],
    }
)
"""Its error names the model and the folders in which that was looked for."""

Told = tuple[str, str]  # error type and message
Face = Callable[[RunningServer, Mapping[str, Any]], Told]


def native(server: RunningServer, arguments: Mapping[str, Any]) -> Told:
    """Accepts a job, or refuses it at once."""
    body = {"workflow": "headshot", "arguments": arguments}
    answer = server.http.post("/v1/jobs", json=body)
    told = answer.json() if answer.status_code != 202 else server.ended(answer.json()["id"])
    return told["error"]["error_type"], told["error"]["message"]


def generate(server: RunningServer, arguments: Mapping[str, Any]) -> Told:
    body = {"workflow": "headshot", "arguments": arguments}
    error = server.http.post("/generate", json=body).json()["error"]
    return error["error_type"], error["message"]


def openai(server: RunningServer, arguments: Mapping[str, Any]) -> Told:
    body = {"model": "headshot", **arguments}
    error = server.http.post("/v1/images/generations", json=body).json()["error"]
    return error["code"], error["message"]


def runpod_path(server: RunningServer, arguments: Mapping[str, Any]) -> Told:
    answer = server.http.post("/v2/headshot/runsync", json={"input": arguments})
    assert answer.status_code == 200
    output = answer.json()["output"]
    assert output["error"] == output["message"]
    return output["error_type"], output["message"]


def runpod_handler(server: RunningServer, arguments: Mapping[str, Any]) -> Told:
    call = {"workflow": "headshot", "arguments": arguments}
    output = asyncio.run(Handler(server.service).answer({"id": "a", "input": call}))
    assert output["error"] == output["message"]
    return output["error_type"], output["message"]


FACES: list[Face] = [native, generate, openai, runpod_path, runpod_handler]


@pytest.fixture(autouse=True)
def headshot(workflows: Path) -> None:
    shutil.copy(HEADSHOT, workflows)


@pytest.mark.parametrize(
    ("arguments", "error_type", "message"),
    [
        ({"user_id": "test"}, "missing_field", "Missing required field: 'prompt'"),
        ({"prompt": "test"}, "missing_field", "Missing required field: 'user_id'"),
        ({}, "missing_field", "Missing required field: 'prompt'"),
        ({"prompt": None, "user_id": "a"}, "missing_field", "Missing required field: 'prompt'"),
        (
            GOOD | {"prompt": "x" * 1001},
            "prompt_too_long",
            "Prompt is too long. Maximum length: 1000 characters",
        ),
        (
            GOOD | {"user_id": "user@domain.com"},
            "user_id_invalid_format",
            "User ID contains invalid characters",
        ),
        (
            GOOD | {"user_id": "../../etc"},
            "user_id_invalid_format",
            "User ID contains invalid characters",
        ),
        (GOOD | {"prompt": " \n"}, "prompt_empty", "Prompt cannot be empty"),
        (
            GOOD | {"num_inference_steps": 101},
            "invalid_value",
            "Steps must be at most 100, got 101",
        ),
        (GOOD | {"number": 3}, "invalid_value", "Number must be one of 1, 2, 4, got 3"),
        (GOOD | {"promt": 1}, "unknown_field", "unknown field 'promt' (did you mean 'prompt'?)"),
    ],
)
def test_what_does_not_fit_is_refused_in_the_same_words(
    server: RunningServer, arguments: Mapping[str, Any], error_type: str, message: str
) -> None:
    for face in FACES:
        assert face(server, arguments) == (error_type, message), face
    assert not server.worker.commands, "before anything runs"


@pytest.mark.parametrize("reason", [NO_CUDA, NO_VARIABLE])
@pytest.mark.parametrize("arguments", [GOOD, {}], ids=["good", "bad"])
def test_where_no_job_can_be_run_any_request_is_told_why(
    start: Start, arguments: Mapping[str, Any], reason: str
) -> None:
    server = start(unfit=InitializationFailed(reason))
    for face in FACES:
        assert face(server, arguments) == ("initialization_error", reason), face
    ready = server.http.get("/readyz")
    assert (ready.status_code, ready.json()["reason"]) == (503, reason)


@pytest.mark.parametrize(
    ("event", "error_type"),
    [
        (lambda n: events.Failed(n, "run", "it broke"), "execution_error"),
        (lambda n: events.Failed(n, "resources", "no memory"), "out_of_memory"),
        (lambda n: events.Failed(n, "bug", "KeyError", trace="Traceback"), "internal_error"),
        (lambda n: events.RunTimedOut(n, "deadline", 5.0, keeps_models=True), "timed_out"),
        (lambda n: events.Died(n, "boot", "no torch", 7), "initialization_error"),
    ],
)
def test_what_ends_a_run_has_the_same_name(
    server: RunningServer, event: Callable[[int], Event], error_type: str
) -> None:
    server.worker.answers = [ending_with(event) for _ in FACES]
    told = [face(server, GOOD) for face in FACES]
    assert {name for name, _ in told} == {error_type}
    (message,) = {message for _, message in told}
    assert message
    assert "Traceback" not in message


PATHS = (
    *(
        ("GET", path)
        for path in ("/v1/workflows/bad", "/v1/workflows/bad/schema", "/v1/models/bad")
    ),
    *(("GET", path) for path in ("/v2/bad/health", "/v1/models/dw/bad", "/workflows/bad")),
    *(("POST", path) for path in ("/v2/bad/purge-queue", "/workflows/bad")),
)
BODIES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/v1/jobs", {"workflow": "bad"}),
    ("/generate", {"workflow": "bad"}),
    ("/v1/sweeps", {"workflow": "bad", "values": {"seed": [1]}}),
    ("/v1/images/generations", {"model": "bad", "prompt": "a hen"}),
    ("/v2/bad/run", {"input": {}}),
    ("/v2/bad/runsync", {"input": {}}),
    ("/models/bad", {"inputs": "a hen"}),
    ("/v1/predictions", {"version": "bad", "input": {}}),
    ("/v1/models/dw/bad/predictions", {"input": {}}),
)


@pytest.mark.parametrize("text", ["{", '{"id": 3, "steps": 4}', "\udcff", MISSING])
def test_no_caller_is_told_where_an_invalid_workflow_lies(
    server: RunningServer,
    workflows: Path,
    caplog: pytest.LogCaptureFixture,
    text: str,
) -> None:
    (workflows / "bad.json").write_bytes(text.encode(errors="surrogateescape"))
    answers = [server.http.request(method, path) for method, path in PATHS]
    answers += [server.http.post(path, json=body) for path, body in BODIES]
    call = {"workflow": "bad", "arguments": {}}
    output = asyncio.run(Handler(server.service).answer({"id": "a", "input": call}))
    for told in (*(answer.text for answer in answers), json.dumps(output)):
        assert "'bad' has " in told or "&#x27;bad&#x27; has " in told
        assert str(workflows) not in told
        assert "nowhere" not in told
    assert str(workflows / "bad.json") in caplog.text


def test_what_is_wrong_when_a_job_runs_is_told_without_its_place(server: RunningServer) -> None:
    found = tuple(Diagnostic("/srv/headshot.json", 3, n, f"broken {n}") for n in (1, 2))
    server.worker.answers = [
        ending_with(
            lambda n: events.Failed(
                n, "workflow", "2 problems", where="/srv/headshot.json", problems=found
            )
        )
        for _ in FACES
    ]
    for face in FACES:
        assert face(server, GOOD) == ("workflow_invalid", "broken 1; broken 2"), face


def test_both_faces_of_runpod_give_the_same_success(server: RunningServer, tmp_path: Path) -> None:
    server.worker.answers = [writes(tmp_path / "a"), writes(tmp_path / "b")]
    path = server.http.post("/v2/headshot/runsync", json={"input": GOOD}).json()["output"]
    call = {"workflow": "headshot", "arguments": GOOD}
    handler = asyncio.run(Handler(server.service).answer({"id": "a", "input": call}))
    for told in (path, handler):
        metrics = told.pop("metrics")
        assert (metrics["num_samples"], metrics["image_size"]) == (1, "64x64")
        assert 0 <= metrics["process_time"] < 60
    assert path == handler
    assert path["status"] == "success"
    assert json.dumps(path).count("cGljdHVyZQ==") == 1, "the base64 of the picture, once"
