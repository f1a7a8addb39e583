"""Replicate's own client, unmodified, against a real server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import replicate
from replicate.exceptions import ModelError, ReplicateError
from replicate.helpers import FileOutput

from dw import events
from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import DIES, hang, until, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start


@contextmanager
def connected(server: RunningServer, token: str = "any") -> Iterator[replicate.Client]:
    made = replicate.Client(api_token=token, base_url=server.url)
    made.poll_interval = 0.01
    with made._client:  # which it never closes itself
        yield made


@pytest.fixture
def client(server: RunningServer) -> Iterator[replicate.Client]:
    with connected(server) as made:
        yield made


def ran(server: RunningServer) -> Run:
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    return run


@pytest.mark.parametrize(
    ("model", "wait"), [("dw/demo", True), ("somebody-else/demo", 9), ("dw/demo:demo", False)]
)
def test_a_run_answers_with_files(
    client: replicate.Client, server: RunningServer, tmp_path: Path, model: str, wait: Any
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    given = {"prompt": "a hen", "num_inference_steps": 9, "seed": 7}
    (file,) = client.run(model, input=given, wait=wait)
    assert isinstance(file, FileOutput)
    assert file.read() == b"picture"
    run = ran(server)
    assert run.arguments == {"prompt": "a hen", "num_inference_steps": 9}
    assert run.seed == 7


def test_behind_tls_a_file_is_a_url(
    client: replicate.Client,
    server: RunningServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    monkeypatch.setattr(
        "dw.server.service.Service.output_url", lambda *_: "https://bucket.example/image_0.png"
    )
    (file,) = client.run("dw/demo", input={})
    assert str(file) == "https://bucket.example/image_0.png"


def test_a_prediction_is_followed_to_its_end(
    client: replicate.Client, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    prediction = client.predictions.create(version="demo", input={"prompt": "a hen"})
    assert prediction.status in ("starting", "processing", "succeeded")
    prediction.wait()
    assert (prediction.status, prediction.error) == ("succeeded", None)
    assert (prediction.model, prediction.version) == ("dw/demo", "demo")
    assert prediction.input == {"prompt": "a hen"}
    assert prediction.metrics["predict_time"] >= 0
    assert prediction.created_at <= prediction.started_at <= prediction.completed_at
    assert prediction.created_at.endswith("Z")
    (url,) = prediction.output
    assert base64.b64decode(url.removeprefix("data:image/png;base64,")) == b"picture"
    (listed,) = client.predictions.list()
    assert listed.id == prediction.id
    assert server.http.get(listed.output[0]).content == b"picture"


def test_a_wait_that_is_too_short_is_no_end(
    client: replicate.Client, server: RunningServer
) -> None:
    """`run` takes what is not `starting` after a wait for ended, and would answer None."""
    server.worker.answers = [hang]
    answer = server.http.post(  # the client itself gives up half a second after its wait
        "/v1/predictions", json={"version": "demo", "input": {}}, headers={"prefer": "wait=1"}
    )
    assert (answer.status_code, answer.json()["status"]) == (201, "starting")
    prediction = client.predictions.get(answer.json()["id"])
    assert prediction.status == "processing", "it lives on"
    prediction.cancel()
    prediction.wait()
    assert (prediction.status, prediction.output) == ("canceled", None)


def test_cancel_stops_what_runs_and_what_waits(
    client: replicate.Client, server: RunningServer
) -> None:
    server.worker.answers = [hang]
    running = client.predictions.create(version="demo", input={})
    until(server.service.queue, running.id, [JobState.RUNNING])
    waiting = client.predictions.create(version="demo", input={})
    for each in (waiting, running):
        each.cancel()
        each.wait()
        assert each.status == "canceled"


@pytest.mark.parametrize("answer", [ending_with(lambda n: events.Failed(n, "run", "broke")), DIES])
def test_a_failure_is_the_error_of_its_model(
    client: replicate.Client, server: RunningServer, answer: Any
) -> None:
    server.worker.answers = [answer] * 3
    with pytest.raises(ModelError) as caught:
        client.run("dw/demo", input={})
    assert caught.value.prediction.status == "failed"
    assert str(caught.value) == caught.value.prediction.error
    assert caught.value.prediction.error


@pytest.mark.parametrize(
    ("given", "status", "kind", "detail"),
    [
        ({"input": {"promt": "x"}}, 400, "unknown_field", "unknown field 'promt' (did you mean"),
        ({"input": {"prompt": 3}}, 400, "invalid_type", "prompt must be a string, got 3"),
        ({"input": {}, "webhook": "https://x.example"}, 400, "unknown_field", "'webhook'"),
        ({"input": {}, "stream": True}, 400, "invalid_value", "stream"),
        ({"input": {"prompt": "data:image/png;base64,?"}}, 400, "invalid_value", "not base64"),
        ({"model": "dw/dmo", "input": {}}, 404, "workflow_not_found", "(did you mean 'demo'?)"),
    ],
)
def test_a_refusal_is_a_problem_in_words(
    client: replicate.Client,
    server: RunningServer,
    given: dict[str, Any],
    status: int,
    kind: str,
    detail: str,
) -> None:
    with pytest.raises(ReplicateError) as caught:
        client.predictions.create(**{"model": "dw/demo"} | given)
    error = caught.value
    assert (error.status, error.type) == (status, kind)
    assert detail in (error.detail or "")
    assert error.instance
    assert not server.worker.commands


def test_what_is_not_there_is_a_problem_too(client: replicate.Client) -> None:
    for call in (
        lambda: client.predictions.get("j_000000000000"),
        lambda: client.models.get("dw/dmo"),
        lambda: client.models.get("dw/demo").versions.get("5c7d5dc6"),
    ):
        with pytest.raises(ReplicateError) as caught:
            call()
        assert (caught.value.status, "not found" in (caught.value.title or "")) == (404, True)
        assert caught.value.detail


def test_a_model_tells_its_inputs(client: replicate.Client) -> None:
    model = client.models.get("dw/demo")
    assert (model.id, model.latest_version.id) == ("dw/demo", "demo")
    (version,) = model.versions.list()
    schemas = version.openapi_schema["components"]["schemas"]
    assert schemas["Input"]["properties"]["prompt"] == {"type": "string", "default": "a cat"}
    assert schemas["Output"]["type"] == "array"


@pytest.mark.parametrize("strategy", ["base64", "url"])
def test_a_file_is_an_argument(
    client: replicate.Client,
    server: RunningServer,
    workflows: Path,
    tmp_path: Path,
    strategy: Any,
) -> None:
    text = json.loads((workflows / "demo.json").read_text())
    text["id"] = "edit"
    text["variables"] |= {"image": None, "images": []}
    (workflows / "edit.json").write_text(json.dumps(text))
    server.worker.answers = [writes(tmp_path / "run")]
    sent = BytesIO(b"\x89PNG ...")
    sent.name = "in put.png"
    given = {"image": sent, "images": [sent, "plain text"]}
    client.run("dw/edit", input=given, file_encoding_strategy=strategy)
    arguments = ran(server).arguments
    first, (second, third) = arguments["image"], arguments["images"]
    assert [Path(each).read_bytes() for each in (first, second)] == [b"\x89PNG ..."] * 2
    assert third == "plain text"


def test_uploaded_files_are_told(client: replicate.Client, server: RunningServer) -> None:
    sent = BytesIO(b"hello")
    sent.name = "a.txt"
    file = client.files.create(sent)
    assert (file.name, file.size, file.content_type) == ("a.txt", 5, "text/plain")
    assert client.files.get(file.id) == file
    assert [each.id for each in client.files.list()] == [file.id]
    assert server.http.get(file.urls["get"]).content == b"hello"


def test_the_token_is_the_key(start: Start) -> None:
    server = start(keys=frozenset({"r8_one"}))
    with connected(server, "r8_one") as right, connected(server, "r8_two") as wrong:
        assert list(right.predictions.list()) == []
        with pytest.raises(ReplicateError) as caught:
            wrong.predictions.list()
    assert (caught.value.status, caught.value.type) == (401, "invalid_api_key")
