"""The storage of results: whether it takes, returns and signs, and whether the clocks agree."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2

from dw.health.finding import Finding
from dw.jobs.storage import Storage

MOST_SKEW_S = 300.0
"""Of two clocks. S3 refuses signatures of a clock that is fifteen minutes away."""
PATIENCE_S = 5.0
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("STORAGE_EMULATOR_HOST",),
    "az": ("AZURE_STORAGE_ENDPOINT",),
}
_PUBLIC = {"s3": "https://s3.amazonaws.com", "gs": "https://storage.googleapis.com"}


def check_storage(url: str) -> Iterator[Finding]:
    """Write, read, sign and delete one small object; compare the clocks. Raises DwError where the
    storage cannot be used."""
    begun = time.monotonic()
    is_signed = Storage(url).try_out()
    signed = "signed URLs" if is_signed else "no signed URLs"
    took = f"{(time.monotonic() - begun) * 1000:.0f} ms"
    yield Finding("storage", "ok", f"{url}: written, read back and deleted in {took}; {signed}")
    yield from _check_clock(url)


def _check_clock(url: str) -> Iterator[Finding]:
    scheme = url.partition("://")[0]
    named = (os.environ.get(name) for name in _ENDPOINTS.get(scheme, ()))
    endpoint = next(filter(None, named), _PUBLIC.get(scheme))
    if endpoint is None:
        return
    try:
        answer = httpx2.head(endpoint, timeout=PATIENCE_S)
        theirs = parsedate_to_datetime(answer.headers["date"])
    except (httpx2.HTTPError, KeyError, ValueError):
        return  # a server without a clock
    skew_s = abs((datetime.now(UTC) - theirs).total_seconds())
    found = f"{skew_s:.0f} s from that of {endpoint}"
    if skew_s > MOST_SKEW_S:
        yield Finding("clock", "failed", found, "set the clock: its signatures will be refused")
    else:
        yield Finding("clock", "ok", found)
