"""Modes: what the SDK would do here, and whether a job of the platform would ever be taken.

The SDK decides by its flags and by the environment, and says nothing when it will never ask for a
job: its test API serves HTTP in place of the queue while the heartbeat goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dw.errors import UsageError

QUEUE = "RUNPOD_WEBHOOK_GET_JOB"
RESULTS = "RUNPOD_WEBHOOK_POST_OUTPUT"
CHUNKS = "RUNPOD_WEBHOOK_POST_STREAM"
PING = "RUNPOD_WEBHOOK_PING"
REALTIME = "RUNPOD_REALTIME_PORT"
TEST_FILE = "test_input.json"

ModeName = Literal["queue", "api", "realtime", "once"]


@dataclass(frozen=True, slots=True)
class Mode:
    """`job` is the one job of `once`."""

    name: ModeName
    why: str
    warnings: tuple[str, ...] = ()
    job: Mapping[str, Any] | None = None


def choose_mode(
    environment: Mapping[str, str],
    *,
    serves_api: bool = False,
    test_input: str | None = None,
    streams: bool = False,
    folder: Path = Path(),
) -> Mode:
    """The mode that would start. `folder` is where `test_input.json` is looked for.

    Raises UsageError, with the reason, where no job would ever be taken, or no result delivered.
    """
    port = _realtime_port(environment)
    if QUEUE in environment:
        _refuse_others(serves_api=serves_api, test_input=test_input, port=port)
        return _queue(environment, streams=streams)
    if serves_api:
        if test_input is not None:
            raise UsageError("--rp_serve_api and --test-input exclude each other")
        return Mode("api", "--rp_serve_api is given: the SDK's test API, for this machine only")
    if port:
        return Mode("realtime", f"{REALTIME} is {port}: the SDK answers HTTP on that port")
    if test_input is not None:
        job = _test_job(test_input, "--test-input")
        return Mode("once", "--test-input is given: one job, then the end", job=job)
    try:
        text = (folder / TEST_FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(
            f"there is no queue: {QUEUE} is not set, as it is on the platform",
            hints=[
                f"--test-input '{{\"input\": {{...}}}}', or a file {TEST_FILE}, runs one job here",
                "dw serve has RunPod's paths, for clients on this machine",
            ],
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{TEST_FILE} cannot be read: {error}") from None
    return Mode("once", f"{TEST_FILE} is here: one job", job=_test_job(text, TEST_FILE))


def _refuse_others(*, serves_api: bool, test_input: str | None, port: int) -> None:
    """What keeps the SDK from the queue that the platform has set."""
    found = {
        "--rp_serve_api": serves_api and "the SDK serves its test API in place of the queue",
        "--test-input": test_input is not None and "the SDK runs that one job and ends",
        REALTIME: bool(port) and "the SDK answers HTTP in place of the queue",
    }
    for name, effect in found.items():
        if effect:
            raise UsageError(
                f"{name} with {QUEUE} set: {effect}, so the handler would never be called for a "
                "job of the platform",
                hints=[f"leave {name} out here; on a machine without {QUEUE} it is fine"],
            )


def _queue(environment: Mapping[str, str], *, streams: bool) -> Mode:
    addresses = (QUEUE, RESULTS, *([CHUNKS] if streams else []))
    for name in addresses:
        url = urlsplit(environment.get(name, ""))
        if url.scheme not in ("http", "https") or not url.netloc:
            lost = "no job would be taken" if name == QUEUE else "no result would arrive"
            raise UsageError(f"{name} must be a URL, or {lost}, got {environment.get(name, '')!r}")
        if not url.query:
            raise UsageError(f"{name} must have a query (?), which the SDK adds to")
    warnings = []
    if "/job-take/" not in environment[QUEUE]:
        warnings.append(f"{QUEUE} has no /job-take/: the platform cannot stop single jobs")
    missing = [n for n in ("RUNPOD_AI_API_KEY", "RUNPOD_POD_ID", PING) if not environment.get(n)]
    if missing:
        warnings.append(f"no heartbeat: {', '.join(missing)} not set")
    return Mode("queue", f"{QUEUE} is set: jobs are taken from the platform", tuple(warnings))


def _realtime_port(environment: Mapping[str, str]) -> int:
    text = environment.get(REALTIME, "0")
    if not text.isdecimal() or int(text) > 65535:
        raise UsageError(f"{REALTIME} must be a port, got {text!r}")
    return int(text)


def _test_job(text: str, source: str) -> dict[str, Any]:
    try:
        job = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{source} is not valid JSON: {error}") from None
    if not isinstance(job, dict) or not isinstance(job.get("input"), dict):
        raise UsageError(f'{source} must be an object with an object "input", as a job has')
    return job
