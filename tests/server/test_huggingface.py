"""huggingface_hub's own client, unmodified, against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, InferenceTimeoutError
from PIL import Image

from dw import events
from dw.events import Run
from tests.jobs.test_queue import DIES, hang, until, writes
from tests.repl.fake import ending_with
from tests.server.conftest import RunningServer, Start


def picture(color: str = "red", form: str = "PNG") -> bytes:
    file = BytesIO()
    Image.new("RGB", (8, 6), color).save(file, form)
    return file.getvalue()


@pytest.fixture(autouse=True)
def _no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")


@pytest.fixture
def client(server: RunningServer) -> Iterator[InferenceClient]:
    with InferenceClient(base_url=f"{server.url}/models/demo") as made:
        yield made


@pytest.fixture
def edits(server: RunningServer, workflows: Path) -> RunningServer:
    """A server of the workflow `edit`, which takes an image."""
    text = json.loads((workflows / "demo.json").read_text())
    text["id"] = "edit"
    text["variables"] |= {"image": None, "width": 64, "height": 64}
    (workflows / "edit.json").write_text(json.dumps(text))
    return server


def ran(server: RunningServer) -> Run:
    (run,) = (c for c in server.worker.commands if isinstance(c, Run))
    return run


@pytest.mark.parametrize(
    ("name", "provider"), [("model", None), ("base_url", None), ("model", "hf-inference")]
)
def test_an_image_comes_as_an_image(
    server: RunningServer, tmp_path: Path, name: str, provider: str | None
) -> None:
    server.worker.answers = [writes(tmp_path / "run", picture())]
    url = f"{server.url}/models/demo"
    with InferenceClient(provider=provider, **{name: url}) as client:  # type: ignore[arg-type]
        image = client.text_to_image("a hen", num_inference_steps=9, seed=7)
    assert (image.format, image.size, image.getpixel((0, 0))) == ("PNG", (8, 6), (255, 0, 0))
    run = ran(server)
    assert (run.arguments, run.seed) == ({"prompt": "a hen", "num_inference_steps": 9}, 7)


@pytest.mark.parametrize(
    ("form", "given", "arguments"),
    [
        ("PNG", {}, {}),  # sent bare
        ("JPEG", {"prompt": "a hen"}, {"prompt": "a hen"}),
        ("WEBP", {"target_size": {"width": 32, "height": 48}}, {"width": 32, "height": 48}),
    ],
)
def test_an_image_becomes_another(
    edits: RunningServer,
    tmp_path: Path,
    form: str,
    given: dict[str, Any],
    arguments: dict[str, Any],
) -> None:
    edits.worker.answers = [writes(tmp_path / "run", picture("blue"))]
    with InferenceClient(model=f"{edits.url}/models/edit") as client:
        image = client.image_to_image(picture(form=form), **given)
    assert image.getpixel((0, 0)) == (0, 0, 255)
    taken = dict(ran(edits).arguments)
    assert Path(taken.pop("image")).read_bytes() == picture(form=form)
    assert taken == arguments


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"guidance_scale": 3.5}, "unknown field 'guidance_scale'"),
        ({"extra_body": {"num_inference_steps": "x"}}, "num_inference_steps must be an integer"),
        ({"seed": -1}, "seed must be an integer from 0"),
    ],
)
def test_a_refusal_is_shown_in_words(
    client: InferenceClient, server: RunningServer, given: dict[str, object], told: str
) -> None:
    with pytest.raises(BadRequestError, match="Bad request") as caught:
        client.text_to_image("a hen", **given)  # type: ignore[arg-type]
    last = str(caught.value).splitlines()[-1]
    assert last.startswith(told)
    assert not server.worker.commands


def test_other_errors_are_shown_with_status_and_words(
    client: InferenceClient, server: RunningServer
) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "run", "it broke")), DIES]
    for status, told in ((500, "it broke"), (500, "worker")):
        with pytest.raises(HfHubHTTPError) as caught:
            client.text_to_image("a hen")
        assert caught.value.response.status_code == status
        assert told in str(caught.value)
        assert caught.value.request_id == caught.value.response.headers["x-request-id"]
    with pytest.raises(HfHubHTTPError, match=r"unknown workflow 'dmo' \(did you mean 'demo'\?\)"):
        client.text_to_image("a hen", model=f"{server.url}/models/dmo")


def test_a_client_that_gives_up_cancels_its_job(server: RunningServer) -> None:
    server.worker.answers = [hang]
    with (
        InferenceClient(model=f"{server.url}/models/demo", timeout=2.0) as client,
        pytest.raises(InferenceTimeoutError),
    ):
        client.text_to_image("a hen")
    (job,) = server.http.get("/v1/jobs").json()["jobs"]
    assert until(server.service.queue, job["id"]).state == "cancelled"


def test_the_token_is_the_key(start: Start, tmp_path: Path) -> None:
    server = start(keys=frozenset({"sk-one"}))
    server.worker.answers = [writes(tmp_path / "run", picture())]
    url = f"{server.url}/models/demo"
    with InferenceClient(model=url, token="sk-one") as client:
        assert client.text_to_image("a hen").size == (8, 6)
    with (
        InferenceClient(model=url, token="sk-two") as client,
        pytest.raises(HfHubHTTPError, match="the API key is missing or wrong") as caught,
    ):
        client.text_to_image("a hen")
    assert caught.value.response.status_code == 401


@pytest.mark.parametrize(
    ("body", "error_type", "param"),
    [
        (b"{", "invalid_request", None),
        (b'{"inputs": 3}', "invalid_type", "inputs"),
        (b'{"parameters": {}}', "missing_field", "inputs"),
        (b'{"inputs": "a hen", "options": {}}', "unknown_field", "options"),
        (
            b'{"inputs": "a hen", "parameters": {"target_size": 3}}',
            "invalid_type",
            "parameters.target_size",
        ),
    ],
)
def test_a_wrong_body_is_refused_in_the_same_shape(
    server: RunningServer, body: bytes, error_type: str, param: str | None
) -> None:
    headers = {"content-type": "application/json"}
    answer = server.http.post("/models/demo", content=body, headers=headers)
    assert answer.status_code == 400
    told = answer.json()
    assert isinstance(told["error"], str)
    assert (told["error_type"], told["param"]) == (error_type, param)
