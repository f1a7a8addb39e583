"""What would be downloaded is reported without waiting for the hub."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import close_session, constants

from dw.engine.checks import downloads
from tests.engine.session import Session, text_to_image

TOKEN = "hf_of_the_user"
FILES = {
    "model_index.json": 500,
    "flux1-dev.safetensors": 24_000_000_000,
    "vae/diffusion_pytorch_model.safetensors": 300_000_000,
    "vae/diffusion_pytorch_model.bin": 300_000_000,
    "transformer/diffusion_pytorch_model-00001-of-00002.safetensors": 10_000_000_000,
    "transformer/diffusion_pytorch_model-00002-of-00002.safetensors": 9_000_000_000,
}


class Hub(BaseHTTPRequestHandler):
    """Has one repository, which it shows to a user with the right token; answers nonsense about
    another, and about a third not at all."""

    done = threading.Event()

    def do_GET(self) -> None:
        repository = self.path.removeprefix("/api/models/").removesuffix("?blobs=true")
        siblings = [{"rfilename": name, "size": size} for name, size in FILES.items()]
        if repository == "silent/lora":
            self.done.wait(30)
        elif repository == "odd/lora":
            self._answer(["nonsense"])
        elif repository != "some/model":
            self.send_error(404)
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self.send_error(401)
        else:
            self._answer({"id": repository, "siblings": siblings})

    def _answer(self, found: Any) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(found).encode())

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    Hub.done.clear()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        close_session()  # its client knows the proxies of before
        yield
        close_session()
        Hub.done.set()
        server.shutdown()
        thread.join()


def notes(session: Session, **changes: Any) -> list[str]:
    document = session.document(text_to_image("some/model", **changes))
    return [str(each).partition(": ")[2] for each in session.engine.check_models(document)]


def test_the_weights_that_a_loader_takes_are_counted(session: Session, hub: None) -> None:
    assert notes(session) == [
        "note: 'some/model' is not in the local cache; about 18.0 GB will be downloaded"
    ]


@pytest.mark.parametrize("token", ["", "hf_of_another_user"])
def test_a_model_that_the_users_token_does_not_open_has_no_size(
    session: Session, hub: None, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert notes(session) == ["note: 'some/model' is not in the local cache"]


@pytest.mark.parametrize("name", ["nobody/lora", "odd/lora"])
def test_what_the_hub_does_not_know_has_no_size(session: Session, hub: None, name: str) -> None:
    lora = {"model_name": name, "weight_name": "a.safetensors"}
    assert notes(session, loras=[lora])[1] == f"note: {name!r} is not in the local cache"


def test_nobody_waits_for_a_silent_hub(
    session: Session, hub: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "PATIENCE_S", 0.2)
    began = time.monotonic()
    assert notes(session, loras=[{"model_name": "silent/lora"}])[1:] == [
        "note: 'silent/lora' is not in the local cache"
    ]
    assert time.monotonic() - began < 3


def test_offline_nothing_is_asked(session: Session) -> None:
    assert notes(session) == ["note: 'some/model' is not in the local cache"]


def test_what_is_here_needs_no_note(session: Session, sd15: Path) -> None:
    document = session.document(text_to_image(sd15))
    assert session.engine.check_models(document) == ()


def test_a_model_that_is_partly_here_says_what_is_missing(
    session: Session, sd15: Path, tmp_path: Path
) -> None:
    root = tmp_path / "hub" / "models--some--model"
    snapshot = root / "snapshots" / ("1" * 40)
    shutil.copytree(sd15, snapshot)
    (root / "refs").mkdir()
    (root / "refs" / "main").write_text("1" * 40)
    cache = {"cache_dir": str(tmp_path / "hub")}
    assert notes(session, from_pretrained_arguments=cache) == []
    other = {**cache, "revision": "fp16"}
    assert notes(session, from_pretrained_arguments=other) == [
        "note: revision 'fp16' of 'some/model' is not in the local cache, which has main"
    ]
    weights = snapshot / "unet" / "diffusion_pytorch_model.safetensors"
    weights.unlink()
    weights.symlink_to("../../../blobs/0123")
    assert notes(session, from_pretrained_arguments=cache) == [
        "note: 'some/model' is only partly in the local cache, without "
        "unet/diffusion_pytorch_model.safetensors (blob 0123)"
    ]


def test_what_allows_no_download_is_told(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert notes(session) == [
        "note: 'some/model' is not in the local cache; HF_HUB_OFFLINE allows no download"
    ]
