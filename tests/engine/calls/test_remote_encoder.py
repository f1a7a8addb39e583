"""A prompt that another machine encodes: who is asked with what, and what is read of the answer."""

from __future__ import annotations

import io
import json
import pickle
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import save

from dw.engine.calls.remote_encoder import is_hub
from tests.engine.session import Json, Session, text_to_image


class Service(BaseHTTPRequestHandler):
    """Encodes as the model itself does, and answers in the way that its path says."""

    asked: ClassVar[list[tuple[str | None, Any]]] = []  # authorization and body of each request
    embeddings: torch.Tensor

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append((self.headers["Authorization"], json.loads(body)))
        if self.path == "/gone":
            self.send_error(503, "Service Unavailable")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self._answer())

    def _answer(self) -> bytes:
        buffer = io.BytesIO()
        if self.path == "/safetensors":
            return save({"prompt_embeds": self.embeddings})
        if self.path == "/pickle":
            return pickle.dumps(Evil())
        if self.path == "/text":
            return b"<html>no tensors here</html>"
        torch.save(self.embeddings if self.path == "/tensor" else {"a": "text"}, buffer)
        return buffer.getvalue()

    def log_message(self, *_: Any) -> None: ...


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("pwned"),))


@pytest.fixture(scope="module")
def service(sd15: Path) -> Iterator[str]:
    pipeline = StableDiffusionPipeline.from_pretrained(sd15)
    Service.embeddings = pipeline.encode_prompt("a cat", "cpu", 1, False)[0].detach()
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr("dw.engine.calls.remote_encoder.get_token", lambda: "hf_secret")
    Service.asked.clear()


def remote(model: Path | str, url: str) -> Json:
    call = {"guidance_scale": 1.0}
    return text_to_image(model, remote_text_encoder={"url": url}, arguments=call)


@pytest.mark.parametrize("path", ["/tensor", "/safetensors"])
def test_it_draws_what_the_own_encoder_would_have(
    session: Session, sd15: Path, service: str, path: str
) -> None:
    own = session.hashes(text_to_image(sd15, arguments={"guidance_scale": 1.0}))
    assert session.hashes(remote(sd15, service + path), trust=True) == own
    assert session.dropped == ("gen.text_encoder",)
    assert Service.asked == [(None, {"prompt": "a cat"})]  # no token for a host that is no hub's


@pytest.mark.parametrize("path", ["/pickle", "/text", "/else"])
def test_what_is_no_tensor_is_not_read(
    session: Session, sd15: Path, service: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(session.folder)
    error = session.fail(remote(sd15, service + path), trust=True)
    assert error.message == (f"the text encoder at {service + path!r} did not answer with tensors")
    assert not (session.folder / "pwned").exists()


def test_a_private_address_needs_trust(session: Session, sd15: Path, service: str) -> None:
    error = session.fail(remote(sd15, f"{service}/tensor"))
    assert "is not on the internet but has the address 127.0.0.1" in error.message
    assert Service.asked == []


def test_a_service_that_is_down_is_told(session: Session, sd15: Path, service: str) -> None:
    error = session.fail(remote(sd15, f"{service}/gone"), trust=True)
    assert error.message.endswith("failed: the server answered 503 Service Unavailable")


@pytest.mark.parametrize(
    ("url", "is_known"),
    [
        ("https://huggingface.co/x", True),
        ("https://remote-text-encoder-flux-2.huggingface.co/predict", True),
        ("http://huggingface.co/x", False),
        ("https://huggingface.co.evil.example/x", False),
        ("https://evilhuggingface.co/x", False),
        ("https://abc.endpoints.huggingface.cloud/x", False),
        ("https://someone.hf.space/x", False),
        ("https://huggingface.co@evil.example/x", False),
    ],
)
def test_the_token_goes_to_the_hub_alone(url: str, is_known: bool) -> None:
    assert is_hub(url) is is_known


def test_a_rehearsal_asks_nobody(session: Session, service: str) -> None:
    assert session.run(remote("any/model", f"{service}/tensor"), rehearse=True).outputs
    assert Service.asked == []
