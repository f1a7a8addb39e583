"""Downloads with limits: the bytes at a URL that a workflow names.

Any workflow may name any URL. None may reach into the network around this machine, fill its memory
or keep a run waiting.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from types import MappingProxyType
from typing import Any

import httpcore2
import httpx2

import dw
from dw.errors import RunFailed, TrustWorkflow

LARGEST_BYTES = 256 * 2**20  # minutes of video
LONGEST_S = 600.0
SILENCE_S = 30.0
CANCEL_POLL_S = 0.1
MOST_REDIRECTS = 10

HEADERS = {"User-Agent": f"dw/{dw.__version__}", "Accept-Encoding": "identity"}
"""Nothing is decompressed: a small answer could become a large one."""

_AS_IPV4 = tuple(
    map(
        IPv6Network,
        (
            "::/96",  # IPv4-compatible
            "::ffff:0:0/96",  # IPv4-mapped
            "::ffff:0:0:0/96",  # IPv4-translated, RFC 2765
            "64:ff9b::/96",  # NAT64, RFC 6052
        ),
    )
)
"""IPv6 addresses that stand for the IPv4 address in their last 32 bits."""

_OF_A_SITE = tuple(map(IPv6Network, ("64:ff9b:1::/48", "fec0::/10")))
"""NAT64 within a network (RFC 8215), and what came before unique local addresses."""

HTTP_ERRORS = (
    OSError,
    ValueError,  # a host name that cannot be encoded
    httpx2.HTTPError,
    httpx2.InvalidURL,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    httpcore2.TimeoutException,
    httpcore2.UnsupportedProtocol,
)


def fetch(
    url: str,
    *,
    private: bool,
    is_named: bool,
    check: Callable[[], None],
    post: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> bytes:
    """The bytes at an http or https URL, redirects followed. `post` is sent there; `headers` are
    not sent to the targets of redirects.

    `private` allows addresses that are not on the internet, for this URL and its redirects;
    `is_named` allows them for the host of the URL itself, because a user named it. `check` is
    called repeatedly, also while the server is silent, and may raise. Raises RunFailed with a
    reason of one line.
    """
    answer = send(
        "GET" if post is None else "POST",
        url,
        private=private,
        is_named=is_named,
        check=check,
        content=post,
        headers=headers,
        reads_refusals=False,
    )
    return answer.body


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered. The body is whole."""

    status: int
    body: bytes


def send(
    method: str,
    url: str,
    *,
    private: bool,
    is_named: bool,
    check: Callable[[], None],
    content: bytes | None = None,
    headers: Mapping[str, str] = MappingProxyType({}),
    reads_refusals: bool = True,
) -> Answer:
    """Like `fetch`, with any method; a refusal is an answer too where `reads_refusals`. Raises
    NoAnswer, a RunFailed, when the server cannot be reached or breaks off."""
    try:
        backend = backend_for(url, private=private, is_named=is_named)
        request = _Request(method, url, content, headers, reads_refusals)
        return _awaited(lambda look: _read(backend, request, look), check)
    except HTTP_ERRORS as error:
        raise NoAnswer(_reason(error)) from error


class NoAnswer(RunFailed):
    """The server cannot be reached, is silent, or broke off."""


def backend_for(url: str, *, private: bool, is_named: bool) -> httpcore2.SyncBackend:
    """What connects to the addresses that are allowed for a URL."""
    named = {httpx2.URL(url).raw_host.decode("ascii")} if is_named else set()
    return httpcore2.SyncBackend() if private else _PublicBackend(named)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    url: str
    content: bytes | None
    headers: Mapping[str, str]
    reads_refusals: bool


def _read(
    backend: httpcore2.NetworkBackend, request: _Request, check: Callable[[], None]
) -> Answer:
    transport = _Transport(backend)
    with httpx2.Client(
        transport=transport, timeout=SILENCE_S, headers=HEADERS, trust_env=False
    ) as client:
        response = _response(
            client,
            client.build_request(
                request.method, request.url, content=request.content, headers=request.headers
            ),
        )
        if not response.is_success and not request.reads_refusals:
            answer = f"{response.status_code} {response.reason_phrase}".rstrip()
            raise RunFailed(f"the server answered {answer}")
        return Answer(response.status_code, b"".join(_chunks(response, check)))


def _response(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """The response at the end of the redirects, its body not read yet."""
    for _ in range(MOST_REDIRECTS):
        response = client.send(request, stream=True)
        target = response.next_request
        # A body is sent once and only http is followed; the redirect itself is the answer then.
        if target is None or target.method != "GET" or target.url.scheme not in ("http", "https"):
            return response
        request = client.build_request("GET", target.url)
    raise RunFailed(f"it redirects more than {MOST_REDIRECTS} times")


def _awaited(work: Callable[[Callable[[], None]], Answer], check: Callable[[], None]) -> Answer:
    """The result of `work`, which runs in a thread of its own: nothing wakes up a thread that waits
    for a socket. When `check` raises, that thread is abandoned; the function that `work` receives
    raises there from then on."""
    result: Future[Answer] = Future()
    is_abandoned = threading.Event()

    def look() -> None:
        if is_abandoned.is_set():
            raise RunFailed("the download was abandoned")

    def settle() -> None:
        try:
            result.set_result(work(look))
        except Exception as error:
            result.set_exception(error)

    threading.Thread(target=settle, name="fetch", daemon=True).start()
    try:
        while not wait([result], timeout=CANCEL_POLL_S).done:
            check()
        check()
    finally:
        is_abandoned.set()
    return result.result()


def _chunks(response: httpx2.Response, check: Callable[[], None]) -> Iterator[bytes]:
    """The body as it arrives, also from a server that sends a byte at a time."""
    began = time.monotonic()
    size = 0
    _check_size(int(response.headers.get("Content-Length") or 0))
    for chunk in response.iter_raw():
        check()
        size += len(chunk)
        _check_size(size)
        if time.monotonic() - began > LONGEST_S:
            raise RunFailed(f"it took more than {LONGEST_S:.0f} s")
        yield chunk


def _check_size(size: int) -> None:
    if size > LARGEST_BYTES:
        raise RunFailed(f"it is larger than {LARGEST_BYTES // 2**20} MiB")


class _PublicBackend(httpcore2.SyncBackend):
    """Connects to public addresses and to the hosts in `named` only.

    It resolves a name once and connects to the addresses that it checked: a second look-up could
    give another address.
    """

    def __init__(self, named: set[str]) -> None:
        self._named = named

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        addresses = [str(target[0]) for *_, target in found]
        for address in addresses if host not in self._named else ():
            if not _is_public(address):
                raise RunFailed(
                    f"{host!r} is not on the internet but has the address {address}",
                    hints=[TrustWorkflow()],
                )
        failure: Exception = OSError(f"{host!r} has no address")
        for address in addresses:
            try:
                return super().connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = error
        raise failure


def _is_public(text: str) -> bool:
    """Whether an address, in whatever form, is one of the internet, and so is all it leads to."""
    address = ip_address(text)
    if isinstance(address, IPv6Address):
        if any(address in network for network in _AS_IPV4):
            return _is_on_internet(IPv4Address(int(address) & 0xFFFFFFFF))
        if any(address in network for network in _OF_A_SITE) or address.teredo:
            return False
        if (inner := _tunnelled(address)) is not None and not _is_on_internet(inner):
            return False
    return _is_on_internet(address)


def _is_on_internet(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved)


def _tunnelled(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address to which the packets for this one are sent: by 6to4 (RFC 3056), or by ISATAP
    (RFC 5214)."""
    is_isatap = (int(address) >> 32) & 0xFDFFFFFF == 0x5EFE
    return IPv4Address(int(address) & 0xFFFFFFFF) if is_isatap else address.sixtofour


class _Transport(httpx2.BaseTransport):
    """httpx2's own transport takes no network backend; httpcore2's connection pools do.

    Where the environment names a proxy for a URL, the proxy decides which addresses it reaches.
    """

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend
        self._pools = ExitStack()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        context = _tls_context() if request.url.scheme == "https" else None
        if (proxy := _proxy(request.url)) is None:
            pool = httpcore2.ConnectionPool(context, network_backend=self._backend)
        else:
            pool = httpcore2.HTTPProxy(str(proxy.url), proxy.raw_auth, ssl_context=context)
        response = self._pools.enter_context(pool).handle_request(
            httpcore2.Request(
                request.method,
                str(request.url),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response),
            extensions=response.extensions,
        )

    def close(self) -> None:
        self._pools.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response) -> None:
        self._response = response

    def __iter__(self) -> Iterator[bytes]:
        return self._response.iter_stream()


_tls_context = cache(ssl.create_default_context)  # the certificates of the operating system


def _proxy(url: httpx2.URL) -> httpx2.Proxy | None:
    """The user's proxy for a URL, from the environment as urllib reads it."""
    address = urllib.request.getproxies().get(url.scheme)
    if not address or urllib.request.proxy_bypass(url.netloc.decode("ascii")):
        return None
    return httpx2.Proxy(address if "://" in address else f"http://{address}")


def _reason(error: Exception) -> str:
    if isinstance(error, httpcore2.TimeoutException):
        return f"the server was silent for {SILENCE_S:.0f} s"
    inner = error.args[0] if error.args else error  # httpcore2 wraps the errors of the system
    for each in (error, inner):
        if isinstance(each, OSError) and each.strerror:
            return each.strerror.lower()
    return " ".join(str(error).split()) or type(error).__name__
