"""Shutdown: a server that is told to end refuses new work, and goes on with what it has."""

from __future__ import annotations

import threading
from types import FrameType

import uvicorn

from dw.jobs.queue import JobQueue


class DrainingServer(uvicorn.Server):
    """At the first SIGTERM or SIGINT jobs that run have `grace_s` to end, and callers see how they
    do; at the second one they are stopped."""

    def __init__(self, config: uvicorn.Config, queue: JobQueue, grace_s: float) -> None:
        super().__init__(config)
        self._queue, self._grace_s = queue, grace_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002
        # In threads: a signal may come while the main thread holds a lock of the queue.
        grace_s = 0.0 if self._captured_signals else self._grace_s
        self._captured_signals.append(sig)
        threading.Thread(target=self._drain, args=(grace_s,), daemon=True).start()

    def _drain(self, grace_s: float) -> None:
        self._queue.close(grace_s)
        self.should_exit = True
