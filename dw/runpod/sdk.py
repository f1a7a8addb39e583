"""RunPod's SDK: how its loop is started, and what it needs from outside to do as it should."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from dw.extras import needing
from dw.runpod.mode import Mode
from dw.worker.child.bootstrap import die_with

CONCURRENCY = 2
"""Of jobs taken, not of jobs run: with its only slot full, the SDK sleeps for a second before it
asks for the next job."""

UPDATE_S = 10.0

_log = logging.getLogger(__name__)


def start(
    mode: Mode,
    handler: Callable[..., Any],
    *,
    config: dict[str, Any],
    checks: Sequence[Callable[[], Any]],
    flags: Sequence[str],
) -> None:
    """Run the SDK until it ends. `flags` are those of its own command line. `checks` raise when no
    job should be taken: the SDK tells the platform, and ends this process with code 1.

    Raises SystemExit in the mode `once`.
    """
    with needing("runpod"):
        import runpod
    if mode.name == "queue":
        # Its heartbeat is a forked process. It would tell the platform for ever that a worker
        # lives that was killed.
        os.register_at_fork(after_in_child=_end_with_parent)
        register = getattr(runpod.serverless, "register_fitness_check", None)  # from 1.9 on
        for check in checks:
            register(check) if register else None
    if mode.job is not None:
        flags = [*flags, "--test_input", json.dumps(mode.job)]
    sys.argv = [sys.argv[0], *flags]  # the SDK reads it, and ignores what it does not know
    _log.info("Starting RunPod serverless worker...")
    _log.info("Handler function: %s", handler)
    _log.info("Handler callable: %s", callable(handler))
    config |= {"handler": handler, "concurrency_modifier": lambda _: CONCURRENCY}
    runpod.serverless.start(config)


async def send_update(job: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Tell the platform the progress of a job; returns when it was told. (The SDK's own
    `progress_update` does this in a thread that nobody waits for.)"""
    from runpod.http_client import AsyncClientSession
    from runpod.serverless.modules.rp_http import send_result

    try:
        async with asyncio.timeout(UPDATE_S), AsyncClientSession() as session:
            await send_result(session, {"status": "IN_PROGRESS", "output": dict(state)}, dict(job))
    except (OSError, TimeoutError) as error:
        _log.warning("the progress of %s did not arrive: %s", job.get("id"), error)


Updates = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]


def _end_with_parent() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # it has inherited handlers of ours
    die_with(os.getppid())
