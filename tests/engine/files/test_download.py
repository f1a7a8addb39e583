from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.engine import Cancelled, RunControl
from dw.engine.files import download
from dw.engine.files.access import FileAccess
from dw.engine.files.inputs import read_image, read_video
from dw.errors import RunFailed
from tests.engine.session import TRUSTED


def _png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(buffer, "PNG")
    return buffer.getvalue()


class Site(BaseHTTPRequestHandler):
    """A picture, things that are none, redirects, and silence."""

    done = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/silent.png":
            self.done.wait(30)
        elif self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.end_headers()
        elif self.path == "/cat.png":
            self._answer(_png())
        elif self.path == "/page.png":
            self._answer(b"<html>")
        else:
            self.send_error(404, "Not Found")

    def _answer(self, data: bytes) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    Site.done.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        Site.done.set()
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)


def refusal(url: str, access: FileAccess) -> str:
    with pytest.raises(RunFailed) as caught:
        read_image(url, access)
    return caught.value.message


def test_an_image_comes_from_a_trusted_address(site: str) -> None:
    assert read_image(f"{site}/cat.png", FileAccess(Path(), permissions=TRUSTED)).size == (8, 8)


def test_an_address_that_is_not_on_the_internet_needs_trust(site: str) -> None:
    message = refusal(f"{site}/cat.png", FileAccess(Path()))
    assert message == (
        f"cannot read the picture '{site}/cat.png': "
        "'127.0.0.1' is not on the internet but has the address 127.0.0.1"
    )


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "10.0.0.1", "192.168.1.1", "169.254.169.254"),
        *("[::1]", "[::ffff:10.0.0.1]"),
    ],
)
def test_every_private_address_is_refused(host: str) -> None:
    assert "is not on the internet" in refusal(f"http://{host}:9/cat.png", FileAccess(Path()))


def test_the_url_that_the_user_typed_is_free_and_its_redirects_are_not(site: str) -> None:
    own = f"{site}/cat.png"
    assert read_image(own, FileAccess(Path(), typed=frozenset({own})))
    away = f"{site}/to/{site.replace('127.0.0.1', 'localhost')}/cat.png"
    message = refusal(away, FileAccess(Path(), typed=frozenset({away})))
    assert "'localhost' is not on the internet" in message


def test_a_redirect_is_followed_when_trusted(site: str) -> None:
    assert read_image(f"{site}/to/{site}/cat.png", FileAccess(Path(), permissions=TRUSTED))


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("no.png", "the server answered 404 Not Found"),
        ("page.png", "it is no picture"),
        ("to/file:///etc/hosts", "the server answered 302"),
    ],
)
def test_reasons_have_one_line(site: str, path: str, reason: str) -> None:
    message = refusal(f"{site}/{path}", FileAccess(Path(), permissions=TRUSTED))
    assert reason in message
    assert "\n" not in message


def test_a_page_is_no_video(site: str) -> None:
    with pytest.raises(RunFailed, match="it is no video"):
        read_video(f"{site}/page.png", FileAccess(Path(), permissions=TRUSTED))


def test_a_large_answer_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", 2)
    assert "larger than" in refusal(f"{site}/cat.png", FileAccess(Path(), permissions=TRUSTED))


def test_a_silent_server_is_given_up(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "SILENCE_S", 0.05)
    assert "was silent" in refusal(f"{site}/silent.png", FileAccess(Path(), permissions=TRUSTED))


def test_fetching_is_a_place_to_cancel(site: str) -> None:
    control = RunControl()
    control.cancel()
    with pytest.raises(Cancelled):
        read_image(f"{site}/cat.png", FileAccess(Path(), permissions=TRUSTED, check=control.check))


def test_a_server_that_is_silent_is_no_reason_to_wait(site: str) -> None:
    control = RunControl()
    threading.Timer(0.05, control.cancel).start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        read_image(
            f"{site}/silent.png", FileAccess(Path(), permissions=TRUSTED, check=control.check)
        )
    assert time.monotonic() - began < 5  # it is silent for 30 s


def test_a_server_that_is_not_there_is_told() -> None:
    message = refusal("http://127.0.0.1:1/cat.png", FileAccess(Path(), permissions=TRUSTED))
    assert message.endswith("connection refused")
