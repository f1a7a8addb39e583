"""Limits: what a caller may take of the server, in bytes and seconds."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

MIB = 2**20


def _limit(default: Any, doc: str) -> Any:
    return field(default=default, metadata={"doc": doc})


@dataclass(frozen=True)
class Limits:
    """Each is an option of `dw serve`."""

    max_body: int = _limit(32 * MIB, "bytes of a request's body; more is refused")
    max_upload: int = _limit(512 * MIB, "bytes of an upload, which goes to the disk")
    max_requests: int = _limit(1000, "requests and event streams at once; more are told to wait")
    read_timeout: float = _limit(30.0, "seconds without a byte of a request")
    keep_jobs: int = _limit(10_000, "jobs that are kept after their end, with their results")
    keep_for: float = _limit(604_800.0, "seconds that jobs, their results and uploads are kept")
    write_timeout: float = _limit(60.0, "seconds in which a caller takes no byte of an answer")


LIMITS = {each.name: each for each in fields(Limits)}

SLOWEST = 1000
"""Bytes of a body per second, on the average: who sends less holds a connection for nothing."""

LONGEST_RUN_S = 7 * 24 * 3600
"""The longest deadline that a caller may set."""
