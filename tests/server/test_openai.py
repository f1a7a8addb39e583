"""OpenAI's own client, unmodified, against a real server."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from openai.types import (
    ImageEditCompletedEvent,
    ImageEditPartialImageEvent,
    ImageGenCompletedEvent,
    ImageGenPartialImageEvent,
)

from dw import events
from dw.events import Event, Preview, Run
from dw.jobs.job import JobState
from tests.jobs.test_queue import DIES, hang, until, writes
from tests.repl.fake import Answer, FakeClient, ending_with
from tests.server.conftest import RunningServer, Start


@pytest.fixture
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="any") as made:
        yield made


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
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="sk-one") as client:
        assert "demo" in [each.id for each in client.models.list()]
        client.api_key = "sk-two"
        with pytest.raises(openai.AuthenticationError) as caught:
            client.models.list()
    assert caught.value.code == "invalid_api_key"


# ------------------------------------------------------------------ streams

PNG = base64.b64encode(b"a small picture").decode()


def previewed(then: Answer) -> Answer:
    """A run with as many previews as were asked for, which goes on like `then`."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        for step in range(1, run.partial_images + 1):
            yield Preview(run.run_id, "gen", step, 4, 16, 12, PNG)
        yield from then(client, run)

    return answer


def finish(worker: FakeClient, folder: Path) -> None:
    """The end of a run that hangs: as `writes` has it."""
    run = next(c for c in worker.commands if isinstance(c, Run))
    *_, finished = writes(folder)(worker, run)
    worker.tickets[run.run_id].events.put(finished)


def test_a_stream_has_partial_images_and_then_the_image(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path
) -> None:
    server.worker.answers = [previewed(hang)]
    stream = client.images.generate(model="demo", prompt="a hen", stream=True, partial_images=2)
    first, second = next(stream), next(stream)
    finish(server.worker, tmp_path / "run")
    (last,) = list(stream)
    assert [(each.type, each.size, each.output_format) for each in (first, second, last)] == [
        ("image_generation.partial_image", "auto", "png"),
        ("image_generation.partial_image", "auto", "png"),
        ("image_generation.completed", "64x64", "png"),
    ]
    for index, partial in enumerate((first, second)):
        assert isinstance(partial, ImageGenPartialImageEvent)
        assert (partial.partial_image_index, partial.b64_json) == (index, PNG)
        ImageGenPartialImageEvent.model_validate(partial.model_dump(), strict=True)
    assert isinstance(last, ImageGenCompletedEvent)
    ImageGenCompletedEvent.model_validate(last.model_dump(), strict=True)
    assert base64.b64decode(last.b64_json) == b"picture"
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert (run.partial_images, run.preview_s) == (2, None)


@pytest.mark.parametrize("count", [None, 0])
def test_a_stream_without_partial_images_is_one_event(
    client: openai.OpenAI, server: RunningServer, tmp_path: Path, count: int | None
) -> None:
    server.worker.answers = [previewed(writes(tmp_path / "run"))]
    stream = client.images.generate(model="demo", prompt="x", stream=True, partial_images=count)
    assert [each.type for each in stream] == ["image_generation.completed"]


def test_an_edit_is_streamed_as_one(
    client: openai.OpenAI, server: RunningServer, workflows: Path, tmp_path: Path
) -> None:
    document = json.loads((workflows / "demo.json").read_text())
    document["variables"]["image"] = None
    pipeline = document["steps"][0]["pipeline"]
    pipeline["configuration"]["component_type"] = "FluxImg2ImgPipeline"
    pipeline["arguments"]["image"] = "variable:image"
    (workflows / "retouch.json").write_text(json.dumps(document))
    server.worker.answers = [previewed(hang)]
    stream = client.images.edit(
        model="retouch", prompt="x", image=("a.png", b"one"), stream=True, partial_images=1
    )
    partial = next(stream)
    finish(server.worker, tmp_path / "run")
    (completed,) = list(stream)
    assert isinstance(partial, ImageEditPartialImageEvent)
    assert isinstance(completed, ImageEditCompletedEvent)
    assert (partial.type, completed.type) == ("image_edit.partial_image", "image_edit.completed")
    ImageEditPartialImageEvent.model_validate(partial.model_dump(), strict=True)
    ImageEditCompletedEvent.model_validate(completed.model_dump(), strict=True)


def test_an_error_in_mid_stream_is_raised_by_the_client(
    client: openai.OpenAI, server: RunningServer
) -> None:
    broken = ending_with(lambda n: events.Failed(n, "run", "it broke"))
    server.worker.answers = [previewed(broken)]
    stream = client.images.generate(model="demo", prompt="x", stream=True, partial_images=1)
    with pytest.raises(openai.APIError, match="it broke") as caught:
        list(stream)
    assert caught.value.code == "execution_error"


def test_a_caller_who_leaves_the_stream_cancels_the_job(
    client: openai.OpenAI, server: RunningServer
) -> None:
    server.worker.answers = [previewed(hang)]
    stream = client.images.generate(model="demo", prompt="x", stream=True, partial_images=1)
    assert next(iter(stream)).type == "image_generation.partial_image"
    stream.close()
    (job,) = server.http.get("/v1/jobs").json()["jobs"]
    assert until(server.service.queue, job["id"]).state is JobState.CANCELLED


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"stream": True, "n": 2}, "n"),
        ({"stream": True, "response_format": "url"}, "response_format"),
        ({"stream": True, "partial_images": 4}, "partial_images"),
        ({"partial_images": 1}, "partial_images"),
    ],
)
def test_what_no_stream_can_have_is_refused(
    client: openai.OpenAI, server: RunningServer, given: dict[str, object], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.images.generate(model="demo", prompt="x", **given)  # type: ignore[call-overload]
    assert (caught.value.param, caught.value.code) == (param, "invalid_value")
    assert not server.worker.commands
