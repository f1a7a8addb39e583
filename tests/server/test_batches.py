"""Files, batches and edits, by OpenAI's own client."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from dw import events
from dw.events import Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import DIES, hang, until, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start

WITHIN_S = 20.0


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as made:
        yield made


def line(number: int, **body: Any) -> str:
    request = {
        "custom_id": f"r{number}",
        "method": "POST",
        "url": "/v1/images/generations",
        "body": {"model": "demo", "prompt": f"{number}"} | body,
    }
    return json.dumps(request)


def batch(client: openai.OpenAI, *lines: str) -> Any:
    file = client.files.create(file=io.BytesIO("\n".join(lines).encode()), purpose="batch")
    return client.batches.create(
        input_file_id=file.id, endpoint="/v1/images/generations", completion_window="24h"
    )


def over(client: openai.OpenAI, batch_id: str) -> Any:
    give_up = time.monotonic() + WITHIN_S
    while (found := client.batches.retrieve(batch_id)).status in ("in_progress", "cancelling"):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    return found


def answers(client: openai.OpenAI, file_id: str | None) -> dict[str, Any]:
    """The response of each line, by its custom_id."""
    assert file_id is not None
    lines = client.files.content(file_id).text.splitlines()
    return {answer["custom_id"]: answer["response"] for answer in map(json.loads, lines)}


def test_a_file_comes_back_as_it_was_sent(client: openai.OpenAI) -> None:
    sent = client.files.create(file=("a.jsonl", b"{}\n" * 1000), purpose="batch")
    assert (sent.bytes, sent.filename, sent.purpose) == (3000, "a.jsonl", "batch")
    assert client.files.content(sent.id).read() == b"{}\n" * 1000
    assert [each.id for each in client.files.list()] == [sent.id]
    assert client.files.delete(sent.id).deleted
    with pytest.raises(openai.NotFoundError, match="there is no file"):
        client.files.retrieve(sent.id)


def test_two_hundred_lines_are_two_hundred_jobs(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / f"{n}", f"{n}".encode()) for n in range(200)]
    found = over(client, batch(client, *(line(n, seed=n) for n in range(200))).id)
    assert found.status == "completed"
    assert (found.request_counts.completed, found.request_counts.failed) == (200, 0)
    assert found.error_file_id is None
    told = answers(client, found.output_file_id)
    assert told.keys() == {f"r{n}" for n in range(200)}
    for n in (0, 77, 199):
        body = told[f"r{n}"]["body"]
        assert body["dw"]["seeds"] == [n]
        assert base64.b64decode(body["data"][0]["b64_json"]) == f"{n}".encode()
    runs = [c for c in server.worker.commands if isinstance(c, Run)]
    assert [run.arguments["prompt"] for run in runs] == [f"{n}" for n in range(200)]


def test_what_fails_has_a_line_of_its_own(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [
        *(writes(tmp_path / "1"), ending_with(lambda n: events.Failed(n, "run", "it broke"))),
        *(DIES, DIES),
    ]
    lines = [line(1), line(2), line(3), line(4, size="huge"), line(5, model="none"), line(6, n=2)]
    found = over(client, batch(client, *lines).id)
    assert (found.request_counts.completed, found.request_counts.failed) == (1, 5)
    told = answers(client, found.error_file_id)
    codes = {name: response["body"]["error"]["code"] for name, response in told.items()}
    assert codes == {
        "r2": "execution_error",
        "r3": "poison_job",
        "r4": "invalid_value",
        "r5": "model_not_found",
        "r6": "invalid_value",
    }
    assert told["r5"]["status_code"] == 404


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 2: Invalid JSON"),
        ("[]", "line 2: "),
        (json.dumps({"custom_id": "x", "body": {}}), "line 2: url: Field required"),
        (line(2).replace("generations", "edits"), "line 2: url is '/v1/images/edits'"),
        (line(1), "line 2: custom_id 'r1' is there already"),
    ],
)
def test_a_bad_file_is_refused_at_its_line(
    client: openai.OpenAI, server: RunningServer, text: str, message: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        batch(client, line(1), text)
    assert message in caught.value.message
    assert caught.value.param == "input_file_id"
    assert not server.worker.commands


def test_a_batch_is_cancelled(client: openai.OpenAI, server: RunningServer) -> None:
    server.worker.answers = [hang]
    made = batch(client, line(1), line(2))
    give_up = time.monotonic() + WITHIN_S
    while not (jobs := server.http.get("/v1/jobs").json()["jobs"]) or len(jobs) < 2:
        assert time.monotonic() < give_up
    until(server.service.queue, jobs[-1]["id"], [JobState.RUNNING])
    assert client.batches.cancel(made.id).status == "cancelling"
    server.service.queue.cancel(jobs[-1]["id"])
    found = over(client, made.id)
    assert found.status == "cancelled"
    assert found.request_counts.failed == 2


def test_a_new_server_goes_on_with_a_batch_and_nothing_runs_twice(
    start: Start, tmp_path: Path
) -> None:
    first = start()
    with openai.OpenAI(base_url=f"{first.url}/v1", api_key="any") as client:
        first.worker.answers = [writes(tmp_path / "1"), hang]
        made = batch(client, line(1), line(2))
        give_up = time.monotonic() + WITHIN_S
        while client.batches.retrieve(made.id).request_counts.completed < 1:
            assert time.monotonic() < give_up
            time.sleep(0.02)
    first.service.queue.close(0.0)
    second = start(answers=[writes(tmp_path / "2")])
    with openai.OpenAI(base_url=f"{second.url}/v1", api_key="any") as client:
        found = over(client, made.id)
    assert (found.status, found.request_counts.completed) == ("completed", 2)
    runs = [c for c in second.worker.commands if isinstance(c, Run)]
    assert [run.arguments["prompt"] for run in runs] == ["2"]


def test_an_edit_gets_its_image(start: Start, workflows: Path, tmp_path: Path) -> None:
    text = json.loads((workflows / "demo.json").read_text())
    text["variables"]["image"] = None
    text["steps"][0]["pipeline"]["arguments"]["image"] = "variable:image"
    (workflows / "edit.json").write_text(json.dumps(text | {"id": "edit"}))
    server = start()
    server.worker.answers = [writes(tmp_path / "run")]
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as client:
        made = client.images.edit(
            model="edit", prompt="red", image=("a.png", b"bytes", "image/png"), n=1
        )
        assert made.data is not None
        assert base64.b64decode(made.data[0].b64_json or "") == b"picture"
        (run,) = (c for c in server.worker.commands if isinstance(c, Run))
        assert Path(run.arguments["image"]).read_bytes() == b"bytes"
        assert run.arguments["prompt"] == "red"
        with pytest.raises(openai.BadRequestError) as caught:
            client.images.edit(model="demo", prompt="red", image=b"bytes")
        assert (caught.value.code, caught.value.param) == ("unknown_field", "image")
