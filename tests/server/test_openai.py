"""OpenAI's own client, unmodified, against a real server."""

from __future__ import annotations

import base64
from pathlib import Path

import openai
import pytest

from dw import events
from dw.events import Run
from tests.jobs.test_queue import DIES, hang, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start


@pytest.fixture
def client(server: RunningServer) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key="any")


def test_models_are_workflows(client: openai.OpenAI) -> None:
    assert "demo" in [each.id for each in client.models.list()]
    assert client.models.retrieve("demo").owned_by == "dw"
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("dall-e")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_an_image_comes_as_bytes(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    made = client.images.generate(model="demo", prompt="a hen", extra_body={"seed": 7})
    assert made.data is not None
    assert base64.b64decode(made.data[0].b64_json or "") == b"picture"
    assert made.model_extra is not None
    assert made.model_extra["dw"]["seeds"] == [7]
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert (run.arguments, run.seed) == ({"prompt": "a hen"}, 7)


def test_several_images_have_seeds_in_a_row(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / f"{n}", f"{n}".encode()) for n in range(3)]
    made = client.images.generate(
        model="demo", prompt="a hen", n=3, response_format="url", extra_body={"seed": 4294967294}
    )
    assert made.data is not None
    assert made.model_extra is not None
    assert made.model_extra["dw"]["seeds"] == [4294967294, 4294967295, 0]
    assert [server.http.get(each.url or "").content for each in made.data] == [b"0", b"1", b"2"]


def test_a_variable_of_the_workflow_is_a_parameter(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    client.images.generate(model="demo", prompt="x", extra_body={"num_inference_steps": 9})
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert run.arguments == {"prompt": "x", "num_inference_steps": 9}


@pytest.mark.parametrize(
    ("given", "param", "code"),
    [
        ({"quality": "hd"}, "quality", "unknown_field"),
        ({"style": "vivid"}, "style", "unknown_field"),
        ({"size": "1024x1024"}, "size", "unknown_field"),
        ({"size": "huge"}, "size", "invalid_value"),
        ({"n": 11}, "n", "invalid_value"),
        ({"extra_body": {"n": True}}, "n", "invalid_type"),
        ({"extra_body": {"seed": -1}}, "seed", "invalid_value"),
        ({"extra_body": {"num_inference_steps": "x"}}, "num_inference_steps", "invalid_type"),
    ],
)
def test_what_means_nothing_here_is_refused_by_name(
    client: openai.OpenAI, server: RunningServer, given: dict[str, object], param: str, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="demo", prompt="x", **given)  # type: ignore[call-overload]
    assert (caught.value.param, caught.value.code) == (param, code)
    assert not server.worker.commands


def test_a_call_that_kills_its_worker_kills_one(
    client: openai.OpenAI, server: RunningServer
) -> None:
    server.worker.answers = [DIES, DIES, DIES]
    with pytest.raises(openai.InternalServerError) as caught:
        client.images.generate(model="demo", prompt="x")
    assert caught.value.code == "worker_crashed"
    assert sum(isinstance(c, Run) for c in server.worker.commands) == 1
    (job,) = server.http.get("/v1/jobs").json()["jobs"]
    assert (job["state"], job["attempts"]) == ("failed", 1)


def test_one_bad_image_cancels_the_others(client: openai.OpenAI, server: RunningServer) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke")), hang, hang]
    with pytest.raises(openai.InternalServerError, match="it broke"):
        client.images.generate(model="demo", prompt="x", n=3)
    states = [job["state"] for job in server.http.get("/v1/jobs").json()["jobs"]]
    assert sorted(states) == ["cancelled", "cancelled", "failed"]


def test_a_wrong_key_is_refused(start: Start) -> None:
    server = start(keys=frozenset({"sk-one"}))
    right = openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-one")
    assert "demo" in [each.id for each in right.models.list()]
    with pytest.raises(openai.AuthenticationError) as caught:
        openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-two").models.list()
    assert caught.value.code == "invalid_api_key"
