"""Which addresses are on the internet, in each form in which one is written."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from dw.engine.files import download
from dw.engine.files.access import FileAccess
from dw.engine.files.download import _is_public
from dw.errors import RunFailed, TrustWorkflow

PRIVATE_IPV4 = (
    *("0.0.0.0", "10.0.0.1", "100.64.0.1", "127.0.0.1", "127.255.255.254", "169.254.169.254"),
    *("172.16.0.1", "172.31.255.255", "192.0.2.1", "192.168.1.1", "198.18.0.1", "198.51.100.1"),
    *("203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255"),
)
PUBLIC_IPV4 = ("1.1.1.1", "8.8.8.8", "93.184.216.34", "172.15.0.1", "172.32.0.1", "11.0.0.1")


def as_hex(ipv4: str) -> str:
    packed = socket.inet_aton(ipv4).hex()
    return f"{packed[:4]}:{packed[4:]}"


def forms(ipv4: str) -> dict[str, str]:
    """The IPv6 addresses that lead to an IPv4 address."""
    tail = as_hex(ipv4)
    return {
        "itself": ipv4,
        "mapped": f"::ffff:{tail}",
        "mapped, with dots": f"::ffff:{ipv4}",
        "mapped, with a zone": f"::ffff:{tail}%eth0",
        "compatible": f"::{ipv4}",
        "translated": f"::ffff:0:{tail}",
        "NAT64": f"64:ff9b::{tail}",
        "NAT64, with dots": f"64:ff9b::{ipv4}",
        "6to4": f"2002:{tail}::1",
        "ISATAP": f"2a00:1450::5efe:{tail}",
        "ISATAP, of a global address": f"2a00:1450::200:5efe:{tail}",
    }


@pytest.mark.parametrize("form", forms("1.1.1.1"))
@pytest.mark.parametrize("ipv4", PRIVATE_IPV4)
def test_a_private_address_is_one_in_every_form(ipv4: str, form: str) -> None:
    assert not _is_public(forms(ipv4)[form])


@pytest.mark.parametrize("form", forms("1.1.1.1"))
@pytest.mark.parametrize("ipv4", PUBLIC_IPV4)
def test_a_public_address_is_one_in_every_form(ipv4: str, form: str) -> None:
    assert _is_public(forms(ipv4)[form])


@pytest.mark.parametrize(
    "address",
    [
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd12:3456::1", "fec0::1", "ff02::1"),
        *("ff0e::1", "100::1", "2001:db8::1", "64:ff9b:1::808:808", "64:ff9b:1:ffff::1"),
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",  # Teredo, to a public address
        "2001:0:808:808::f5ff:fffe",  # Teredo, to 10.0.0.1
        *("4000::1", "e000::1"),
    ],
)
def test_an_address_of_this_network_is_not_public(address: str) -> None:
    assert not _is_public(address)


@pytest.mark.parametrize("address", ["2606:4700:4700::1111", "2a00:1450:4001:81b::200e"])
def test_an_address_of_the_internet_is(address: str) -> None:
    assert _is_public(address)


@pytest.mark.parametrize("address", ["64:ff9b::7f00:1", "2002:a00:1::1", "::ffff:10.0.0.1"])
def test_none_of_the_addresses_of_a_name_may_be_private(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def resolved(host: str, port: int, **_: Any) -> list[Any]:
        return [(0, 0, 0, "", (each, port)) for each in ("8.8.8.8", address)]

    def no_connection(*_: Any, **__: Any) -> None:
        raise AssertionError("it was connected to")

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(download.socket, "getaddrinfo", resolved)
    monkeypatch.setattr(download.httpcore2.SyncBackend, "connect_tcp", no_connection)
    with pytest.raises(RunFailed, match=f"'x.example' is not on the .* address {address}") as error:
        FileAccess(Path()).source("http://x.example/cat.png")
    assert error.value.remedies == (TrustWorkflow(),)


def test_a_name_without_an_address_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: [])
    with pytest.raises(RunFailed, match=r"'x\.example' has no address"):
        FileAccess(Path()).source("http://x.example/cat.png")


def test_the_next_address_of_a_name_is_tried_as_the_first_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[Any] = []

    def connect(_: Any, *arguments: Any) -> str:
        tried.append(arguments)
        if len(tried) == 1:
            raise download.httpcore2.ConnectError("refused")
        return "connected"

    found = [(0, 0, 0, "", (each, 0)) for each in ("8.8.8.8", "1.1.1.1", "9.9.9.9")]
    monkeypatch.setattr(download.socket, "getaddrinfo", lambda *_, **__: found)
    monkeypatch.setattr(download.httpcore2.SyncBackend, "connect_tcp", connect)
    options = (80, 1.5, "0.0.0.0", [(1, 2, 3)])
    assert download._PublicBackend(set()).connect_tcp("x.example", *options) == "connected"
    assert tried == [("8.8.8.8", *options), ("1.1.1.1", *options)]
