"""The job queue: takes jobs in, gives them to the workers of a pool, and follows each to its end.

One thread for each worker: it claims a job, runs it, stores its results, and claims the next. What
has become of a job is written to the store before anybody hears of it, so that a server that is
killed at any moment goes on from there.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw import run_record
from dw.errors import DwError
from dw.jobs import log_ids
from dw.jobs.attempt import Attempt, Verdict
from dw.jobs.cold_start import ColdStart
from dw.jobs.job import Artifact, Job, JobError, JobState
from dw.jobs.job_events import JobEvents
from dw.jobs.job_request import JobRequest
from dw.jobs.pool import Slot, WorkerPool
from dw.jobs.routing import MAX_WAIT_S, GroupCost, next_group
from dw.jobs.storage import Storage
from dw.jobs.store import JobStore

if TYPE_CHECKING:
    from dw.settings import Settings

MOST_QUEUED = 100_000
MOST_ATTEMPTS = 3
"""Of a job that was active whenever its server died."""

UPLOAD_S = 5.0
"""That an upload has when the server ends."""

_PASSING = frozenset({JobState.RUNNING, JobState.UPLOADING})  # they soon have the next state

_log = logging.getLogger(__name__)


class QueueFull(DwError):
    """It takes no job now; later it may."""

    error_type = "queue_full"


class Draining(QueueFull):
    """The server is about to end."""

    error_type = "shutting_down"


class JobQueue:
    """`store_results` opens the storage of a URL. The methods may be called by any thread."""

    def __init__(
        self,
        store: JobStore,
        pool: WorkerPool,
        settings: Settings,
        *,
        open_storage: Callable[[str], Storage] = Storage,
        most_queued: int = MOST_QUEUED,
        max_wait_s: float = MAX_WAIT_S,
        clock: Callable[[], float] = time.time,
        on_change: Sequence[Callable[[Job], None]] = (),
    ) -> None:
        self.store = store
        self.events = JobEvents(store)
        self.on_change = list(on_change)  # called with the lock held
        self.on_event: list[Callable[[Job, Slot, Mapping[str, Any]], None]] = []
        self.cold_starts = {slot.name: ColdStart(slot.name) for slot in pool.slots}
        self._pool = pool
        self._settings = settings
        self._open_storage = open_storage
        self._most_queued = most_queued
        self._max_wait_s = max_wait_s
        self._clock = clock
        self._changed = threading.Condition()  # guards what follows, and each change of a state
        self._attempts: dict[str, Attempt] = {}
        self._loaded: dict[str, str] = {}  # the group whose models each slot has
        self._held_since: dict[str, float] = {}
        self._costs: dict[str, GroupCost] = {}
        self._is_draining = False
        self._recover()
        self._threads = [
            threading.Thread(
                target=self._serve, args=(slot,), name=f"jobs-{slot.name}", daemon=True
            )
            for slot in pool.slots
        ]
        for thread in self._threads:
            thread.start()

    # ------------------------------------------------------------------ for callers

    @property
    def slots(self) -> Sequence[Slot]:
        return self._pool.slots

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def submit(
        self, request: JobRequest, *, job_id: str | None = None, key: str | None = None
    ) -> tuple[Job, bool]:
        """The job of a request, and whether it is a new one. Raises JobConflict, UsageError,
        QueueFull and Draining."""
        with self._changed:
            if self._is_draining:
                raise Draining("the server is about to end and takes no new jobs")
            if self.store.queued >= self._most_queued:
                raise QueueFull(f"the queue is full: {self._most_queued} jobs wait")
            job, is_new = self.store.create(request, job_id=job_id, key=key)
            if is_new:
                self.events.moved(job)
                self._tell(job)
        return job, is_new

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: one that waits at once, one that runs at its next consistent point. No
        effect on one that has ended. Raises JobNotFound."""
        with self._changed:
            job = self.store.get(job_id)
            if job.state is JobState.QUEUED:
                return self._move(job_id, Verdict(JobState.CANCELLED))
            attempt = self._attempts.get(job_id)
        if attempt is not None:
            attempt.cancel()
        return job

    def stop(self, job_id: str) -> bool:
        """End the denoising of a running job early; returns whether it runs."""
        with self._changed:
            attempt = self._attempts.get(job_id)
        return attempt is not None and attempt.stop()

    def kill(self, job_id: str) -> bool:
        """Kill the worker that runs a job, which is cancelled; returns whether it runs."""
        with self._changed:
            attempt = self._attempts.get(job_id)
        return attempt is not None and attempt.kill()

    def job_on(self, slot: Slot) -> str | None:
        """The id of the job that a slot attends to."""
        with self._changed:
            found = (job_id for job_id, a in self._attempts.items() if a.slot is slot)
            return next(found, None)

    def retry(self, job_id: str) -> Job:
        """Queue a job that ended badly once more. Results that only failed to arrive in the storage
        are not made again. Raises JobNotFound and IllegalTransition."""
        return self._move(job_id, Verdict(JobState.QUEUED))

    def close(self, grace_s: float = 10.0) -> None:
        """Take no new jobs, let active ones end within `grace_s`, queue the others again, and end
        the workers. A second call with less grace hurries the first.

        A result on its way into a storage that hangs is left to the next server.
        """
        with self._changed:
            self._is_draining = True
            self._changed.notify_all()
        give_up = time.monotonic() + grace_s
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        with self._changed:
            attempts = list(self._attempts.values())
        for attempt in attempts:
            attempt.cancel(give_back=True)
        give_up = time.monotonic() + self._settings.grace + UPLOAD_S  # a worker is killed by then
        for thread in self._threads:
            thread.join(max(0.0, give_up - time.monotonic()))
        self._pool.close()
        self.events.close()

    # ------------------------------------------------------------------ the thread of a slot

    def _serve(self, slot: Slot) -> None:
        while (attempt := self._next_attempt(slot)) is not None:
            job = attempt.job
            log_ids.job_id.set(job.id)
            log_ids.request_id.set(job.request.request_id)
            log_ids.workflow.set(job.request.workflow)
            try:
                self._attend(slot, attempt)
            except Exception:
                # The job's store fails, or there is a fault in dw: the slot serves the next job.
                _log.exception("[%s] operation failed", job.id, extra=_ids(job))
                error = JobError("internal_error", "something in dw itself went wrong")
                with suppress(Exception):
                    self._move(job.id, Verdict(JobState.FAILED, error))
            finally:
                log_ids.run_id.set("")
                with self._changed:
                    self._attempts.pop(job.id, None)

    def _next_attempt(self, slot: Slot) -> Attempt | None:
        """Wait for a job that this slot should take; None when the queue closes."""
        with self._changed:
            while not self._is_draining:
                group = self._next_group(slot)
                job = None if group is None else self.store.claim(group, slot.name)
                if job is not None:
                    if self._loaded.get(slot.name) != job.request.group:
                        self._held_since[slot.name] = self._clock()
                    self._loaded[slot.name] = job.request.group
                    self.events.moved(job)
                    self._tell(job)
                    attempt = self._attempts[job.id] = self._attempt(slot, job)
                    return attempt
                self._changed.wait()
        return None

    def _next_group(self, slot: Slot) -> str | None:
        loaded = self._loaded.get(slot.name)
        if loaded is not None and self.store.has_only(loaded):
            return loaded  # as `next_group` would say, without a look at the backlog
        return next_group(
            self.store.backlogs(),
            loaded=loaded,
            elsewhere=[g for name, g in self._loaded.items() if name != slot.name],
            held_s=self._clock() - self._held_since.get(slot.name, 0.0),
            costs=self._costs,
            now=self._clock(),
            max_wait_s=self._max_wait_s,
        )

    def _attempt(self, slot: Slot, job: Job) -> Attempt:
        return Attempt(
            job,
            slot,
            replace(self._settings, device=slot.device),
            on_state=lambda verdict: self._move(job.id, verdict),
            on_event=lambda event: self._heard(job, slot, event),
        )

    def _heard(self, job: Job, slot: Slot, event: Mapping[str, Any]) -> None:
        self.cold_starts[slot.name].heard(event)
        for told in self.on_event:
            told(job, slot, event)
        self.events.add(job.id, event)

    def _attend(self, slot: Slot, attempt: Attempt) -> None:
        job = attempt.job
        if job.artifacts:  # they were made by an earlier attempt
            verdict = Verdict(JobState.UPLOADING, artifacts=job.artifacts)
        else:
            verdict = attempt.run()
            if verdict.state is JobState.UPLOADING:
                self._learn(job.request.group, attempt)
            if verdict.died:
                with self._changed:
                    self._loaded.pop(slot.name, None)
        if verdict.state is not JobState.UPLOADING:
            self._move(job.id, verdict)
        elif not job.request.storage:  # one transaction, as nothing is between the two states
            passed = (JobState.UPLOADING,)
            self._move(job.id, replace(verdict, state=JobState.SUCCEEDED), passed=passed)
        else:
            self._move(job.id, verdict)
            self._move(job.id, self._uploaded(job, verdict.artifacts or ()))

    def _learn(self, group: str, attempt: Attempt) -> None:
        """Keep what jobs of a group cost: the longest load, as later ones are short, and the last
        run."""
        known = self._costs.get(group, GroupCost(0.0, 0.0))
        self._costs[group] = GroupCost(max(known.load_s, attempt.load_s), attempt.run_s)

    def _uploaded(self, job: Job, artifacts: tuple[Artifact, ...]) -> Verdict:
        try:
            kept = self._open_storage(job.request.storage).keep(job.id, artifacts)
        except DwError as error:  # the results are on this machine, and stay there
            failed = JobError("upload_failed", str(error), is_retryable=True)
            return Verdict(JobState.FAILED, failed)
        return Verdict(JobState.SUCCEEDED, artifacts=kept)

    # ------------------------------------------------------------------ states

    def _move(self, job_id: str, verdict: Verdict, *, passed: Sequence[JobState] = ()) -> Job:
        """Write a job's next state, and tell it after those that it has `passed`."""
        with self._changed:
            job = self.events.move(
                job_id,
                verdict.state,
                died=verdict.died,
                error=verdict.error,
                artifacts=verdict.artifacts,
                folder=verdict.folder,
                passed=passed,
            )
            for state in passed:
                self._tell(replace(job, state=state, ended=None))
            self._tell(job)
            return job

    def _tell(self, job: Job) -> None:
        """Tell those who wait of a job's new state."""
        error = f": {job.error.message}" if job.error else ""
        level = logging.DEBUG if job.state in _PASSING else logging.INFO
        _log.log(level, "[%s] %s%s", job.id, job.state, error, extra=_ids(job))
        for told in self.on_change:
            told(job)
        self._changed.notify_all()

    def _recover(self) -> None:
        """Go on with the jobs that were active when the server before this one died."""
        for job in reversed(self.store.active()):
            self._move(job.id, _after_restart(job))


def _ids(job: Job) -> dict[str, str]:
    """What a log line about a job is found by."""
    request = job.request
    return {"job_id": job.id, "request_id": request.request_id, "workflow": request.workflow}


def _after_restart(job: Job) -> Verdict:
    """What becomes of a job that was active: what its run wrote is believed first."""
    artifacts = job.artifacts or _finished(job.folder)
    if artifacts:
        return Verdict(JobState.QUEUED, artifacts=artifacts)
    if job.attempts >= MOST_ATTEMPTS:
        message = f"the server died in each of {job.attempts} attempts"
        return Verdict(JobState.FAILED, JobError("poison_job", message))
    return Verdict(JobState.QUEUED)


def _finished(folder: str | None) -> tuple[Artifact, ...]:
    """The results of a run that finished, by its record."""
    if folder is None:
        return ()
    try:
        facts = run_record.read(Path(folder))
        if facts["state"] != "finished":
            return ()
        return tuple(
            Artifact(
                str(Path(folder) / each["path"]),
                *(each[name] for name in ("content_type", "nbytes", "sha256")),
            )
            for each in facts["outputs"]
        )
    except (OSError, ValueError, KeyError, TypeError):
        return ()  # the job is run again
