"""What a URL holds, fetched with limits: a workflow may name any URL, so none of them may reach
into the network that the machine stands in, fill its memory or keep a run waiting."""

from __future__ import annotations

import http.client
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from dw.errors import RunFailed, TrustWorkflow

LARGEST_BYTES = 256 * 2**20  # minutes of video
LONGEST_S = 600.0
SILENCE_S = 30.0
LOOK_S = 0.1  # how often to look at a cancel
CHUNK_BYTES = 2**20


def fetch(
    url: str,
    *,
    private: bool,
    is_named: bool,
    check: Callable[[], None],
    post: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The bytes at a http or https URL, redirects followed. `post` is sent there; `headers` are
    not sent on to where it redirects to.

    `private`: addresses that are not on the internet are allowed, for this URL and all that it
    redirects to; `is_named`: for the URL's own host only, as a user named it. `check` is called
    again and again, also while the server is silent, and may raise. Raises RunFailed with a reason
    of one line.
    """
    named = {urlsplit(url).hostname} if is_named else set()
    guard = None if private else _Guard({*named, *_proxies()})
    opener = urllib.request.build_opener(*([] if guard is None else _handlers(guard)))
    try:
        request = urllib.request.Request(url, data=post)
        for name, value in headers.items():
            request.add_unredirected_header(name, value)
        return _awaited(lambda look: _answer(opener, request, look), check)
    except (OSError, HTTPException, ValueError) as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is the answer, too
        raise RunFailed(_reason(error)) from error


def _answer(
    opener: urllib.request.OpenerDirector, request: urllib.request.Request, look: Callable[[], None]
) -> bytes:
    with opener.open(request, timeout=SILENCE_S) as answer:
        return b"".join(_chunks(answer, look))


def _awaited(work: Callable[[Callable[[], None]], bytes], check: Callable[[], None]) -> bytes:
    """What `work` gives, done in a thread of its own, as nothing wakes up who waits for a socket.
    When `check` raises, that is left alone; it is handed a function that then raises."""
    answer: Future[bytes] = Future()
    is_left = threading.Event()

    def look() -> None:
        if is_left.is_set():
            raise RunFailed("nobody waits for it")

    def settle() -> None:
        try:
            answer.set_result(work(look))
        except Exception as error:
            answer.set_exception(error)

    threading.Thread(target=settle, name="fetch", daemon=True).start()
    try:
        while not wait([answer], timeout=LOOK_S).done:
            check()
        check()
    finally:
        is_left.set()
    return answer.result()


def _chunks(answer: Any, check: Callable[[], None]) -> Iterator[bytes]:
    """What comes as it comes, also from a server that sends a byte at a time."""
    began = time.monotonic()
    size = 0
    _limit(int(answer.headers.get("Content-Length") or 0))
    while chunk := answer.read1(CHUNK_BYTES):
        check()
        size += len(chunk)
        _limit(size)
        if time.monotonic() - began > LONGEST_S:
            raise RunFailed(f"it took more than {LONGEST_S:.0f} s")
        yield chunk


def _limit(size: int) -> None:
    if size > LARGEST_BYTES:
        raise RunFailed(f"it is larger than {LARGEST_BYTES // 2**20} MiB")


class _Guard:
    """Connects to public addresses only. It resolves a name itself and connects to what it
    judged, so that a second look-up cannot give another address."""

    def __init__(self, free: set[str | None]) -> None:
        self._free = free

    def connect(
        self, address: tuple[str, int], timeout: float = SILENCE_S, source_address: Any = None
    ) -> socket.socket:
        host, port = address
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        targets = [str(target[0]) for *_, target in found]
        for target in targets if host not in self._free else ():
            if not _is_public(target):
                raise RunFailed(
                    f"{host!r} is not on the internet but has the address {target}",
                    hints=[TrustWorkflow()],
                )
        failure = OSError(f"{host!r} has no address")
        for target in targets:
            try:
                return socket.create_connection((target, port), timeout, source_address)
            except OSError as error:
                failure = error
        raise failure


def _is_public(target: str) -> bool:
    address = ip_address(target.partition("%")[0])
    return (getattr(address, "ipv4_mapped", None) or address).is_global


def _handlers(guard: _Guard) -> list[urllib.request.BaseHandler]:
    """urllib's own, which connect as the guard does."""

    def guarded(connection: type[HTTPConnection]) -> Callable[..., HTTPConnection]:
        def make(*args: Any, **kwargs: Any) -> HTTPConnection:
            made = connection(*args, **kwargs)
            made._create_connection = guard.connect  # type: ignore[attr-defined]
            return made

        return make

    class Http(urllib.request.HTTPHandler):
        def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(guarded(HTTPConnection), request)

    class Https(urllib.request.HTTPSHandler):
        def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
            return self.do_open(guarded(HTTPSConnection), request)

    return [Http(), Https()]


def _proxies() -> set[str | None]:
    """The hosts of the user's proxies, which then decide what can be reached."""
    return {urlsplit(proxy).hostname for proxy in urllib.request.getproxies().values()}


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}".rstrip()
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"the server was silent for {SILENCE_S:.0f} s"
    if isinstance(inner, OSError) and inner.strerror:
        return inner.strerror.lower()
    return " ".join(str(inner).split()) or type(inner).__name__
