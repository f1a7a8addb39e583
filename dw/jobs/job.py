"""Jobs: requests that were accepted, and what has become of them."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from dw.jobs.job_request import JobRequest

ID = re.compile(r"j_[0-9a-f]{12}")


class JobState(StrEnum):
    QUEUED = "queued"
    LOADING = "loading"
    RUNNING = "running"
    UPLOADING = "uploading"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed_out"

    @property
    def is_final(self) -> bool:
        return self in FINAL


_QUEUED, _LOADING, _RUNNING, _UPLOADING, _SUCCEEDED, _FAILED, _CANCELLED, _TIMED_OUT = JobState

ACTIVE = frozenset({_LOADING, _RUNNING, _UPLOADING})
FINAL = frozenset({_SUCCEEDED, _FAILED, _CANCELLED, _TIMED_OUT})
BADLY_ENDED = FINAL - {_SUCCEEDED}

TRANSITIONS: Mapping[JobState, frozenset[JobState]] = {
    # A job whose results only failed to arrive in the storage is not drawn again.
    _QUEUED: frozenset({_LOADING, _UPLOADING}) | BADLY_ENDED,
    # A run may load again for a later step. A worker that dies puts its job back.
    _LOADING: frozenset({_RUNNING, _UPLOADING, _QUEUED}) | BADLY_ENDED,
    _RUNNING: frozenset({_LOADING, _UPLOADING, _QUEUED}) | BADLY_ENDED,
    _UPLOADING: FINAL | {_QUEUED},
    _SUCCEEDED: frozenset(),
    # By the user's wish.
    _FAILED: frozenset({_QUEUED}),
    _CANCELLED: frozenset({_QUEUED}),
    _TIMED_OUT: frozenset({_QUEUED}),
}
"""The states that may follow each state."""


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job ended badly. `param`: the argument at fault. `is_retryable`: whether the same job
    may succeed when it is tried again."""

    error_type: str
    message: str
    param: str | None = None
    is_retryable: bool = False


@dataclass(frozen=True, slots=True)
class Artifact:
    """A result. `key` is its name in the storage, empty until it arrived there; `path` is the file
    on this machine. `width` and `height` are those of a picture or a video, in pixels."""

    path: str
    content_type: str
    nbytes: int
    sha256: str
    key: str = ""
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """Times are Unix times in seconds. `attempts` counts runs, `deaths` those that took their
    worker along. `folder` is that of the last run."""

    id: str
    request: JobRequest
    state: JobState
    created: float
    started: float | None = None
    ended: float | None = None
    attempts: int = 0
    deaths: int = 0
    worker: str | None = None
    folder: str | None = None
    error: JobError | None = None
    artifacts: tuple[Artifact, ...] = ()


def new_id() -> str:
    return f"j_{secrets.token_hex(6)}"
