"""Attempts: one run of a job on a worker, from the command to what its end means for the job."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from dw import events
from dw.codec import to_json
from dw.errors import DwError
from dw.events import Event
from dw.jobs import log_ids
from dw.jobs.job import Artifact, Job, JobError, JobState
from dw.jobs.job_error import job_error
from dw.jobs.outcome import Outcome, follow
from dw.jobs.pool import Slot
from dw.jobs.request import next_run, run_request
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.workflow import parse_document

if TYPE_CHECKING:
    from dw.settings import Settings
    from dw.types import OutputFile, Permissions
    from dw.workflow import Document


MOST_DEATHS = 2
"""A job that took as many workers along is not given another one."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a job in an attempt, or after it. `died`: its worker died with it. `folder`:
    where its run writes, where that is news."""

    state: JobState
    error: JobError | None = None
    artifacts: tuple[Artifact, ...] | None = None
    died: bool = False
    folder: str | None = None


class Attempt:
    """`on_state` is called when the run loads and when it executes; `on_event` gets each event as
    JSON."""

    def __init__(
        self,
        job: Job,
        slot: Slot,
        settings: Settings,
        *,
        on_state: Callable[[Verdict], object],
        on_event: Callable[[dict[str, object]], None],
    ) -> None:
        self.job, self.slot, self._settings = job, slot, settings
        self._on_state, self._on_event = on_state, on_event
        self._folder: str | None = None
        self._lock = threading.Lock()
        self._state = JobState.LOADING
        self._run_id: int | None = None
        self._gives_back = False
        self._is_cancelled = False
        self._started = self._executing = time.monotonic()
        self._ended = self._started

    # ------------------------------------------------------------------ from other threads

    def cancel(self, *, give_back: bool = False) -> None:
        """Stop the run; the models are kept. `give_back`: the job is queued again,
        unless a caller waits for it."""
        with self._lock:
            self._is_cancelled = True
            self._gives_back = give_back and not self.job.request.is_awaited
            if self._run_id is not None:
                self.slot.client.cancel(self._run_id)

    def stop(self) -> bool:
        """End the denoising early; returns whether it runs."""
        with self._lock:
            if self._run_id is not None:
                self.slot.client.stop_run(self._run_id)
            return self._run_id is not None

    def kill(self) -> bool:
        """Kill the worker; returns whether the job runs on it."""
        with self._lock:
            self._is_cancelled = True
            if self._run_id is not None:
                self.slot.client.kill()
            return self._run_id is not None

    # ------------------------------------------------------------------ in the slot's thread

    def run(self) -> Verdict:
        try:
            outcome = self._followed()
        except DwError as error:  # its arguments no longer fit, or there is no worker
            return Verdict(JobState.FAILED, job_error(error))
        finally:
            self._ended = time.monotonic()
        return replace(self._verdict(outcome), folder=self._folder)

    @property
    def load_s(self) -> float:
        return self._executing - self._started

    @property
    def run_s(self) -> float:
        return self._ended - self._executing

    def _followed(self) -> Outcome:
        request = self.job.request
        document = parsed(request.text, request.path, self._settings.permissions)
        workflow = OpenWorkflow(document, dict(request.arguments), request.seed)
        client = self.slot.client
        run = run_request(
            workflow,
            self._settings,
            self._settings.permissions,
            run_id=next_run(client, self._settings),
            timeout_s=request.timeout_s,
            drawn_seed=request.drawn_seed,
            are_typed=False,  # a caller gave the arguments
            preview_s=self._settings.preview_s(shows=request.previews),
            partial_images=request.partial_images,
        )
        log_ids.run_id.set(str(run.run.run_id))
        with self._lock:
            stream = client.submit(run.run, run.timeout_s)
            self._run_id = stream.run_id
            if self._is_cancelled:
                client.cancel(stream.run_id)
        return follow(stream, on_event=self._heard, on_interrupt=_never)

    def _heard(self, event: Event) -> None:
        match event:
            case events.Started():
                self._folder = event.output_dir  # nothing is found there before it executes
            case events.Loading() if self._state is JobState.RUNNING:
                self._become(JobState.LOADING)
            case events.Executing() if self._state is JobState.LOADING:
                self._executing = time.monotonic()
                self._become(JobState.RUNNING)
            case _:
                pass
        self._on_event(to_json(event))

    def _become(self, state: JobState) -> None:
        self._state = state
        self._on_state(Verdict(state, folder=self._folder))

    def _verdict(self, outcome: Outcome) -> Verdict:
        match outcome.event:
            case events.Finished() as event:
                return Verdict(JobState.UPLOADING, artifacts=tuple(map(_artifact, event.outputs)))
            case events.RunCancelled():
                return Verdict(JobState.QUEUED if self._gives_back else JobState.CANCELLED)
            case events.RunTimedOut():
                assert outcome.error is not None
                return Verdict(JobState.TIMED_OUT, job_error(outcome.error))
            case events.Died() as event:
                return self._after_death(event, outcome)
            case _:
                assert outcome.error is not None
                return Verdict(JobState.FAILED, job_error(outcome.error))

    def _after_death(self, event: events.Died, outcome: Outcome) -> Verdict:
        assert outcome.error is not None
        if self._is_cancelled:  # it did not stop within its grace
            state = JobState.QUEUED if self._gives_back else JobState.CANCELLED
            return Verdict(state)
        if event.kind in ("boot", "version"):  # no fault of the job
            return Verdict(JobState.FAILED, JobError("initialization_error", outcome.error.message))
        deaths = self.job.deaths + 1
        if self.job.request.is_awaited:
            return Verdict(JobState.FAILED, job_error(outcome.error), died=True)
        if deaths >= MOST_DEATHS:
            message = f"{outcome.error.message}; it was the {deaths}. worker that died of this job"
            return Verdict(JobState.FAILED, JobError("poison_job", message), died=True)
        return Verdict(JobState.QUEUED, job_error(outcome.error), died=True)


@lru_cache(maxsize=64)
def parsed(text: str, path: str, permissions: Permissions) -> Document:
    """The document of a job. Raises WorkflowError."""
    return parse_document(text, Path(path), permissions=permissions)


def _artifact(output: OutputFile) -> Artifact:
    return Artifact(
        output.path,
        output.content_type,
        output.nbytes,
        output.sha256,
        width=output.width,
        height=output.height,
    )


def _never() -> None:
    raise AssertionError("nobody interrupts the stream of a job")
