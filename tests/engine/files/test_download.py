from __future__ import annotations

import base64
import gzip
import io
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import httpcore2
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


class Request(NamedTuple):
    method: str
    path: str
    headers: Any
    body: bytes


class Site(BaseHTTPRequestHandler):
    """An image, things that are none, redirects, and silence."""

    done = threading.Event()
    requests: ClassVar[list[Request]] = []

    def do_POST(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.requests.append(Request(self.command, self.path, self.headers, body))
        if self.path == "/silent.png":
            self.done.wait(30)
        elif self.path.startswith("/to/"):
            self._redirect(302, self.path.removeprefix("/to/"))
        elif self.path.startswith("/again/"):
            self._redirect(307, self.path.removeprefix("/again/"))
        elif self.path == "/around":
            self._redirect(302, "/around")
        elif self.path == "/packed":
            self._answer(gzip.compress(b"0" * 1000, mtime=0), ("Content-Encoding", "gzip"))
        elif self.path == "/cat.png":
            self._answer(_png())
        elif self.path.startswith("/bytes/"):
            self._answer(bytes(int(self.path.removeprefix("/bytes/"))))
        elif self.path == "/announced":
            self.send_response(200)
            self.send_header("Content-Length", str(257 * 2**20))
            self.end_headers()
            self.done.wait(30)
        elif self.path == "/endless":
            self._answer(b"x")
            with suppress(OSError):  # the client hangs up
                while not self.done.wait(0.001):  # so that it reaches no limit of bytes
                    self.wfile.write(b"x")
        elif self.path.startswith("/teapot"):
            self.send_response(418, self.path.removeprefix("/teapot"))
            self.end_headers()
        elif self.path == "/page.png":
            self._answer(b"<html>")
        else:
            self.send_error(404, "Not Found")

    def _redirect(self, status: int, target: str) -> None:
        self.send_response(status)
        self.send_header("Location", target)
        self.end_headers()

    def _answer(self, data: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(200)
        for header in headers:
            self.send_header(*header)
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


def fetch_from(url: str, *, private: bool = True, **options: Any) -> bytes:
    return download.fetch(url, private=private, is_named=False, check=lambda: None, **options)


def test_an_image_comes_from_a_trusted_address(site: str) -> None:
    assert read_image(f"{site}/cat.png", FileAccess(Path(), permissions=TRUSTED)).size == (8, 8)


def test_an_address_that_is_not_on_the_internet_needs_trust(site: str) -> None:
    message = refusal(f"{site}/cat.png", FileAccess(Path()))
    assert message == (
        f"cannot read the image '{site}/cat.png': "
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
        ("page.png", "not a valid image file"),
        ("to/file:///etc/hosts", "the server answered 302"),
        ("teapot", ": the server answered 418\n"),
        ("teapotSTOUT", ": the server answered 418 STOUT\n"),
    ],
)
def test_reasons_have_one_line(site: str, path: str, reason: str) -> None:
    message = refusal(f"{site}/{path}", FileAccess(Path(), permissions=TRUSTED))
    assert reason in f"{message}\n"
    assert "\n" not in message


def test_a_page_is_no_video(site: str) -> None:
    with pytest.raises(RunFailed, match="not a valid video file"):
        read_video(f"{site}/page.png", FileAccess(Path(), permissions=TRUSTED))


@pytest.mark.parametrize("size", [0, 8, 300_000])
def test_an_answer_may_be_as_large_as_the_limit(
    site: str, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(download, "LARGEST_BYTES", size)
    assert fetch_from(f"{site}/bytes/{size}") == bytes(size)
    with pytest.raises(RunFailed, match="it is larger than 0 MiB"):
        fetch_from(f"{site}/bytes/{size + 1}")


def test_an_answer_that_is_announced_as_too_large_is_not_waited_for(site: str) -> None:
    with pytest.raises(RunFailed, match=r"^it is larger than 256 MiB$"):
        fetch_from(f"{site}/announced")


def test_a_server_that_sends_for_too_long_is_given_up(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "LONGEST_S", 0.0)
    with pytest.raises(RunFailed, match="it took more than 0 s"):
        fetch_from(f"{site}/bytes/8")


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


def test_a_download_that_was_cancelled_ends(site: str) -> None:
    Site.requests.clear()
    before, new = {*threading.enumerate()}, set[threading.Thread]()

    def check() -> None:
        if Site.requests:
            new.update(each for each in threading.enumerate() if each.name == "fetch")
            raise Cancelled

    with pytest.raises(Cancelled):
        download.fetch(f"{site}/endless", private=True, is_named=False, check=check)
    [thread] = new - before
    assert thread.daemon  # nobody waits for one that waits for a silent server
    thread.join(10)
    assert not thread.is_alive()


def test_a_server_that_is_not_there_is_told() -> None:
    message = refusal("http://127.0.0.1:1/cat.png", FileAccess(Path(), permissions=TRUSTED))
    assert message.endswith("connection refused")


# ------------------------------------------------------------------ what is sent, and to whom


def test_headers_are_not_sent_on_to_where_a_request_is_redirected(site: str) -> None:
    Site.requests.clear()
    fetched = fetch_from(f"{site}/to/{site}/cat.png", headers={"X-Secret": "1"}, post=b"{}")
    assert fetched == _png()
    first, second = Site.requests
    assert (first.method, first.headers["X-Secret"], first.body) == ("POST", "1", b"{}")
    assert (second.method, second.headers["X-Secret"], second.body) == ("GET", None, b"")
    assert second.headers["Accept-Encoding"] == "identity"
    assert second.headers["User-Agent"].startswith("dw/")


def test_without_a_body_it_is_a_get(site: str) -> None:
    Site.requests.clear()
    fetch_from(f"{site}/cat.png")
    assert [(each.method, each.body) for each in Site.requests] == [("GET", b"")]


def test_a_redirect_from_http_to_https_is_followed(site: str) -> None:
    with pytest.raises(RunFailed, match="connection refused"):
        fetch_from(f"{site}/to/https://127.0.0.1:1/cat.png")


def test_a_redirect_that_wants_the_body_again_is_not_followed(site: str) -> None:
    with pytest.raises(RunFailed, match="the server answered 307"):
        fetch_from(f"{site}/again/{site}/cat.png", post=b"{}")


def test_redirects_have_an_end(site: str) -> None:
    with pytest.raises(RunFailed, match="it redirects more than 10 times"):
        fetch_from(f"{site}/around")


def test_an_answer_is_not_decompressed(site: str) -> None:
    assert fetch_from(f"{site}/packed") == gzip.compress(b"0" * 1000, mtime=0)


def test_a_name_is_resolved_once(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers with another address at a second look-up gains nothing."""
    port = int(site.rpartition(":")[2])
    answers = iter([[(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", port))]])
    tried: list[str] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: next(answers))
    monkeypatch.setattr(socket, "create_connection", connect)
    message = refusal(f"http://rebind.example:{port}/cat.png", FileAccess(Path()))
    assert message.endswith("connection refused")
    assert tried == ["93.184.215.14"]


# ------------------------------------------------------------------ proxies


@pytest.mark.parametrize("private", [True, False])
def test_a_proxy_of_the_environment_is_used_and_decides_what_it_reaches(
    site: str, monkeypatch: pytest.MonkeyPatch, private: bool
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": site})
    Site.requests.clear()
    url = "http://nowhere.invalid/cat.png"
    with pytest.raises(RunFailed, match="the server answered 404"):
        fetch_from(url, private=private)
    assert [request.path for request in Site.requests] == [url]


def test_a_proxy_is_told_its_user_and_password(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = site.replace("//", "//me:secret@")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": proxy})
    Site.requests.clear()
    with pytest.raises(RunFailed, match="the server answered 404"):
        fetch_from("http://nowhere.invalid/cat.png")
    [request] = Site.requests
    credentials = base64.b64encode(b"me:secret").decode()
    assert request.headers["Proxy-Authorization"] == f"Basic {credentials}"


def test_a_host_that_bypasses_the_proxy_is_checked(
    site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": "http://proxy.invalid:1"})
    monkeypatch.setattr("urllib.request.proxy_bypass", lambda host: host.startswith("127."))
    assert fetch_from(f"{site}/cat.png") == _png()
    with pytest.raises(RunFailed, match="is not on the internet"):
        fetch_from(f"{site}/cat.png", private=False)


def test_a_proxy_may_be_named_without_a_scheme(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    named = site.removeprefix("http://")
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": named})
    with pytest.raises(RunFailed, match="the server answered 404"):
        fetch_from("http://nowhere.invalid/cat.png")


@pytest.mark.parametrize("proxies", [{}, {"http": "http://p.invalid", "https": "http://p.invalid"}])
def test_https_is_verified_with_the_certificates_of_the_system(
    monkeypatch: pytest.MonkeyPatch, proxies: dict[str, str]
) -> None:
    contexts: list[Any] = []

    def pool(*arguments: Any, **options: Any) -> Any:
        contexts.append(options["ssl_context"] if proxies else arguments[0])
        raise httpcore2.ConnectError("refused")

    monkeypatch.setattr("urllib.request.getproxies", lambda: proxies)
    monkeypatch.setattr(httpcore2, "HTTPProxy" if proxies else "ConnectionPool", pool)
    for scheme in ("https", "http"):
        with pytest.raises(RunFailed, match=r"^refused$"):
            fetch_from(f"{scheme}://example.invalid/cat.png")
    secure, plain = contexts
    assert (secure.verify_mode, secure.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert plain is None


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1", "odd://127.0.0.1:1", "http://["])
def test_a_proxy_that_cannot_be_used_is_a_reason(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"http": proxy})
    with pytest.raises(RunFailed) as caught:
        fetch_from("http://example.invalid/cat.png")
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError(), "ValueError"),
        (ValueError("one\n  two"), "one two"),
        (OSError(111, "Connection refused"), "connection refused"),
        (httpcore2.ConnectError(OSError(113, "No route to host")), "no route to host"),
        (httpcore2.ReadTimeout(), "the server was silent for 30 s"),
    ],
)
def test_a_reason_is_the_cause_in_one_line(error: Exception, reason: str) -> None:
    assert download._reason(error) == reason


@pytest.mark.parametrize("url", ["http://[", "http://\x00/", "http://" + "a" * 70 + ".invalid/x"])
def test_a_url_that_is_none_is_a_reason(url: str) -> None:
    with pytest.raises(RunFailed):
        fetch_from(url)
