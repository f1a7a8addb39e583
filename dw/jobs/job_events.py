"""The events of jobs, numbered in order, for clients that follow a job and come back to it.

A change of a job's state and each of the worker's events is kept in the store, but for progress:
that is kept in memory, and only while the job is active.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from dw.jobs.job import Job
from dw.jobs.store import JobStore

Numbered = tuple[int, Mapping[str, Any]]
PASSING = frozenset({"Heartbeat", "Stepped"})
"""Events that mean nothing any more when the job has ended."""

MOST_PASSING = 1024
"""Of one job in memory: a client that is further behind misses the oldest."""


class JobEvents:
    """The methods may be called by any thread."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._last: dict[str, int] = {}  # the number of each active job's last event
        self._passing: dict[str, deque[Numbered]] = {}
        self._watchers: dict[str, list[Callable[[], None]]] = {}

    def add(self, job_id: str, event: Mapping[str, Any]) -> None:
        """The next event of a job. `event` has its name under `event`."""
        with self._lock:
            last = self._last_number(job_id)
            if event["event"] in PASSING:
                self._last[job_id] = last + 1
                passing = self._passing.setdefault(job_id, deque(maxlen=MOST_PASSING))
                passing.append((last + 1, event))
            else:
                self._last[job_id] = self._store.add_event(job_id, event, after=last)
        self._wake(job_id)

    def last(self, job_id: str) -> int:
        """The number of a job's last event; 0 before the first."""
        with self._lock:
            return self._last_number(job_id)

    def moved(self, job: Job) -> None:
        """The store has changed a job's state, and has kept the event of it."""
        with self._lock:
            if job.state.is_final:
                self._passing.pop(job.id, None)
                self._last.pop(job.id, None)
            else:
                self._last[job.id] = self._store.last_event(job.id)
        self._wake(job.id)

    def after(self, job_id: str, number: int = 0) -> list[Numbered]:
        """The events of a job with higher numbers, in order. Raises JobNotFound."""
        with self._lock:
            kept: list[Numbered] = [*self._store.events(job_id, number)]
            kept += [each for each in self._passing.get(job_id, ()) if each[0] > number]
        return sorted(kept, key=lambda each: each[0])

    @contextmanager
    def watched(self, job_id: str, wake: Callable[[], None]) -> Iterator[None]:
        """Call `wake` after each event of a job, in the thread that added it."""
        with self._lock:
            self._watchers.setdefault(job_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._watchers[job_id].remove(wake)
                if not self._watchers[job_id]:
                    del self._watchers[job_id]

    def _last_number(self, job_id: str) -> int:
        return self._last.get(job_id) or self._store.last_event(job_id)

    def _wake(self, job_id: str) -> None:
        with self._lock:
            watchers = tuple(self._watchers.get(job_id, ()))
        for wake in watchers:
            wake()
