"""The events of jobs, numbered in order, for clients that follow a job and come back to it.

A change of a job's state and each of the worker's events is kept in the store, but for progress:
that is kept in memory, and only while the job is active. The worker's events are written together,
with the next state or when somebody wants to see them: what a client has seen is on the disk, so
that its place in the events of a job outlives the server.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from dw.jobs.job import ACTIVE, Job, JobState
from dw.jobs.store import JobStore

Numbered = tuple[int, Mapping[str, Any]]
PASSING = frozenset({"Heartbeat", "Stepped", "Preview"})
"""Events that mean nothing any more when the job has ended."""

MOST_PASSING = 1024
"""Of one job in memory: a client that is further behind misses the oldest."""

MOST_PREVIEWS = 3
"""Of one job in memory: as many as one may ask for as partial images."""

MOST_UNWRITTEN = 64
"""Of one job."""


@dataclass(slots=True)
class _Active:
    """What is known of an active job. `last` is the number of its last event."""

    last: int
    unwritten: list[Numbered] = field(default_factory=list)
    passing: deque[Numbered] = field(default_factory=lambda: deque(maxlen=MOST_PASSING))
    previews: deque[Numbered] = field(default_factory=lambda: deque(maxlen=MOST_PREVIEWS))

    def add(self, event: Mapping[str, Any]) -> None:
        self.last += 1
        is_preview = event["event"] == "Preview"
        passing = self.previews if is_preview else self.passing
        (passing if event["event"] in PASSING else self.unwritten).append((self.last, event))


class JobEvents:
    """The methods may be called by any thread."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._active: dict[str, _Active] = {}
        self._followers: dict[str, list[Callable[[], None]]] = {}
        self._waiting: dict[str, list[Callable[[], None]]] = {}
        self.is_closed = False

    def add(self, job_id: str, event: Mapping[str, Any]) -> None:
        """The next event of an active job. `event` has its name under `event`."""
        with self._lock:
            job = self._active.get(job_id) or self._begin(job_id)
            job.add(event)
            if len(job.unwritten) >= MOST_UNWRITTEN:
                self._write(job_id)
        self._wake(self._followers, job_id)

    def last(self, job_id: str) -> int:
        """The number of a job's last event; 0 before the first."""
        with self._lock:
            job = self._active.get(job_id)
            return job.last if job else self._store.last_event(job_id)

    def move(
        self, job_id: str, state: JobState, *, passed: Sequence[JobState] = (), **facts: Any
    ) -> Job:
        """`JobStore.move`, after the job's events so far."""
        with self._lock:
            active = self._active.get(job_id)
            if active is None:
                job = self._store.move(job_id, state, passed=passed, **facts)
            else:
                facts |= {"events": active.unwritten, "after": active.last}
                job = self._store.move(job_id, state, passed=passed, **facts)
                active.unwritten.clear()
                active.last += len(passed) + 1
            if state not in ACTIVE:
                self._active.pop(job_id, None)
        self.moved(job)
        return job

    def moved(self, job: Job) -> None:
        """Wake those who follow a job, or wait for its end, after a change of its state."""
        self._wake(self._followers, job.id)
        if job.state.is_final:
            self._wake(self._waiting, job.id)

    def close(self) -> None:
        """No more events come from this process: wake all who wait for one."""
        self.is_closed = True
        for watchers in (self._followers, self._waiting):
            for job_id in list(watchers):
                self._wake(watchers, job_id)

    def after(self, job_id: str, number: int = 0) -> list[Numbered]:
        """The events of a job with higher numbers, in order. Raises JobNotFound."""
        with self._lock:
            self._write(job_id)
            kept: list[Numbered] = [*self._store.events(job_id, number)]
            if job := self._active.get(job_id):
                kept += [each for each in (*job.passing, *job.previews) if each[0] > number]
        return sorted(kept, key=lambda each: each[0])

    @contextmanager
    def watched(
        self, job_id: str, wake: Callable[[], None], *, until_end: bool = False
    ) -> Iterator[None]:
        """Call `wake` after each event of a job, in the thread that added it; with `until_end` only
        when it has ended."""
        watchers = self._waiting if until_end else self._followers
        with self._lock:
            watchers.setdefault(job_id, []).append(wake)
        try:
            yield
        finally:
            with self._lock:
                watchers[job_id].remove(wake)
                if not watchers[job_id]:
                    del watchers[job_id]

    def _begin(self, job_id: str) -> _Active:
        self._active[job_id] = _Active(self._store.last_event(job_id))
        return self._active[job_id]

    def _write(self, job_id: str) -> None:
        if (job := self._active.get(job_id)) and job.unwritten:
            self._store.add_events(job_id, job.unwritten)
            job.unwritten.clear()

    def _wake(self, watchers: Mapping[str, list[Callable[[], None]]], job_id: str) -> None:
        with self._lock:
            found = tuple(watchers.get(job_id, ()))
        for wake in found:
            wake()
