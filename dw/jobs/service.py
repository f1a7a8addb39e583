"""The job service: what every face that runs jobs for others works with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.errors import DwError, UsageError, WorkflowError
from dw.jobs.catalog import Catalog
from dw.jobs.job import Job
from dw.jobs.job_events import Numbered
from dw.jobs.job_request import job_request
from dw.jobs.queue import Draining, JobQueue
from dw.jobs.requirements import InitializationFailed
from dw.jobs.storage import Storage
from dw.jobs.workflow_arguments import OpenWorkflow, seed_of
from dw.refusals import reason
from dw.workflow.inputs import InputProblem, InvalidInputs, check_inputs

if TYPE_CHECKING:
    from dw.workflow import Document

_log = logging.getLogger(__name__)


class ResultGone(DwError):
    """The file of a result is no longer there."""

    error_type = "not_found"


@dataclass(frozen=True)
class JobService:
    """`storage_url` is where results are copied to; empty: they stay in the folders of their runs.
    Signed URLs live for `url_s` seconds. `unfit`: why no job can be run here."""

    queue: JobQueue
    catalog: Catalog
    storage_url: str = field(default="", kw_only=True)
    url_s: float = field(default=3600.0, kw_only=True)
    unfit: InitializationFailed | None = field(default=None, kw_only=True)

    def require_fitness(self) -> None:
        """Raises InitializationFailed where no job can be run."""
        if self.unfit is not None:
            raise self.unfit

    def document(self, name: str) -> Document:
        """The workflow of a name, for a caller, who is not told where its files lie: what is wrong
        with one is in the log. Raises UnknownWorkflow and WorkflowError."""
        try:
            return self.catalog.document(name)
        except WorkflowError as error:
            for problem in error.problems or (error,):
                _log.warning("workflow %r is invalid: %s", name, problem)
            count = max(1, len(error.problems))
            problems = "1 problem" if count == 1 else f"{count} problems"
            raise WorkflowError(
                f"the workflow {name!r} has {problems}, which the log tells"
            ) from None

    def submit(
        self,
        workflow: str,
        arguments: Mapping[str, Any],
        *,
        request_id: str,
        seed: int | None = None,
        timeout_s: float | None = None,
        priority: int = 0,
        is_awaited: bool = False,
        previews: bool = False,
        partial_images: int = 0,
        job_id: str | None = None,
        key: str | None = None,
    ) -> tuple[Job, bool]:
        """The job of a call, and whether it is a new one. `is_awaited`, `previews` and
        `partial_images`: as in JobRequest.

        Raises DwError: InitializationFailed for any call of a service that is unfit, InvalidInputs
        for arguments that do not fit, WorkflowError for a workflow that does not, and what
        `JobQueue.submit` raises.
        """
        self.require_fitness()
        document = self.document(workflow)
        opened = OpenWorkflow(document)
        given = dict(arguments) | ({} if seed is None else {"seed": seed})
        if problems := [*check_inputs(document, arguments), *_seed_problems(opened, given)]:
            raise InvalidInputs(problems)
        opened.set(given)
        opened.document.bind(opened.overrides)
        request = job_request(
            opened,
            name=workflow,
            timeout_s=timeout_s,
            priority=priority,
            is_awaited=is_awaited,
            previews=previews,
            partial_images=partial_images,
            storage=self.storage_url,
            request_id=request_id,
        )
        return self.queue.submit(request, job_id=job_id, key=key)

    async def events(self, job_id: str, after: int = 0) -> AsyncIterator[Numbered]:
        """The events of a job above a number, those to come as well, until it has ended.

        Raises JobNotFound.
        """
        woken, wake = _wakeup()
        with self.queue.events.watched(job_id, wake):
            while True:
                woken.clear()
                for number, event in self.queue.events.after(job_id, after):
                    yield number, event
                    after = number
                # The state and its event are written together.
                is_over = self.queue.store.get(job_id).state.is_final
                if is_over and after >= self.queue.events.last(job_id):
                    return
                if self.queue.events.is_closed:
                    return
                await woken.wait()

    def wait(self, job_id: str) -> Job:
        """Like `ended`, for a thread."""
        woken = threading.Event()
        with self.queue.events.watched(job_id, woken.set, until_end=True):
            while not (job := self.queue.store.get(job_id)).state.is_final:
                woken.wait()
                woken.clear()
        return job

    async def ended(self, job_id: str) -> Job:
        """Wait for a job's end. Raises Draining when the server ends before."""
        woken, wake = _wakeup()
        with self.queue.events.watched(job_id, wake, until_end=True):
            while not (job := self.queue.store.get(job_id)).state.is_final:
                if self.queue.events.is_closed:
                    raise Draining(f"the server is about to end; job {job_id} waits for the next")
                await woken.wait()
                woken.clear()
        return job

    def result(self, job: Job, number: int) -> bytes:
        """The bytes of a result. Raises ResultGone when somebody has deleted it."""
        try:
            return Path(job.artifacts[number].path).read_bytes()
        except OSError as error:
            message = f"result {number} of job {job.id} is gone: {reason(error)}"
            raise ResultGone(message) from None

    def output_url(self, job: Job, number: int) -> str | None:
        """A signed URL of a result, where the storage has such."""
        key = job.artifacts[number].key
        if not key or not job.request.storage:
            return None
        return Storage(job.request.storage).signed_url(key, self.url_s)


def _seed_problems(workflow: OpenWorkflow, given: Mapping[str, Any]) -> Iterator[InputProblem]:
    """What is wrong with the seed of a workflow that declares none."""
    if "seed" in given and not workflow.declares("seed"):
        try:
            seed_of(given["seed"], None)
        except UsageError as error:
            yield InputProblem("seed", "invalid_value", error.message)


def _wakeup() -> tuple[asyncio.Event, Callable[[], None]]:
    """An event of this loop, and a function for other threads that sets it."""
    loop, woken = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(woken.set)

    return woken, wake
