"""The service: what every face of the server works with."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.events import Run
from dw.jobs.job import Job, JobState
from dw.jobs.job_events import Numbered
from dw.jobs.job_request import job_request
from dw.jobs.queue import JobQueue
from dw.jobs.storage import Storage
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.server.access import Keys
from dw.server.api_error import ApiError
from dw.server.catalog import Catalog
from dw.server.files import FileStore
from dw.server.limits import Limits
from dw.types import Permissions
from dw.workflow import parse_document
from dw.workflow.inputs import InvalidInputs, check_inputs
from dw.workflow.paths import may_read

if TYPE_CHECKING:
    from starlette.requests import Request


@dataclass(frozen=True)
class Service:
    """`files` are what callers uploaded; batches are kept in `state_folder`. `storage_url` is where
    results are copied to; empty: they stay in the folders of their runs. Signed URLs live for
    `url_s` seconds. With `allows_text` callers may send workflows as text."""

    queue: JobQueue
    catalog: Catalog
    keys: Keys
    state_folder: Path
    files: FileStore
    storage_url: str = ""
    url_s: float = 3600.0
    allows_text: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def permissions(self) -> Permissions:
        return self.catalog.permissions

    @property
    def folder(self) -> Path:
        """The folder of the workflows that are served."""
        return self.catalog.folder

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
        job_id: str | None = None,
        key: str | None = None,
    ) -> tuple[Job, bool]:
        """The job of a call, and whether it is a new one. `is_awaited`: as in JobRequest.

        Raises DwError: InvalidInputs for arguments that do not fit, WorkflowError for a workflow
        that does not, and what `JobQueue.submit` raises.
        """
        document = self.catalog.document(workflow)
        if problems := check_inputs(document, arguments):
            raise InvalidInputs(problems)
        opened = OpenWorkflow(document)
        opened.set(dict(arguments) | ({} if seed is None else {"seed": seed}))
        opened.document.bind(opened.overrides)
        request = job_request(
            opened,
            name=workflow,
            timeout_s=timeout_s,
            priority=priority,
            is_awaited=is_awaited,
            storage=self.storage_url,
            request_id=request_id,
        )
        return self.queue.submit(request, job_id=job_id, key=key)

    def submit_text(
        self, run: Run, *, request_id: str, timeout_s: float | None = None
    ) -> tuple[Job, bool]:
        """The job of a workflow whose text the caller sends, with nothing but its text and its
        arguments. It may name files where the server's own workflows may.

        Raises ApiError where the server takes no texts, and DwError as `submit` does.
        """
        if not self.allows_text:
            raise ApiError(
                "not_allowed",
                "this server runs its own workflows only",
                hints=["it takes texts when it is started with --allow-inline"],
            )
        path = Path(run.path)
        if not may_read(path, self.permissions, self.folder):
            path = self.folder / path.name
        document = parse_document(run.text, path, permissions=self.permissions)
        if problems := check_inputs(document, run.arguments):
            raise InvalidInputs(problems)
        opened = OpenWorkflow(document, dict(run.arguments), run.seed)
        request = replace(
            job_request(
                opened,
                timeout_s=timeout_s,
                storage=self.storage_url,
                request_id=request_id,
                is_awaited=True,
            ),
            drawn_seed=run.drawn_seed,
        )
        return self.queue.submit(request)

    async def events(self, job_id: str, after: int = 0) -> AsyncIterator[Numbered]:
        """The events of a job above a number, those to come as well, until it has ended.

        Raises JobNotFound.
        """
        loop, woken = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(woken.set)

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
                await woken.wait()

    def wait(self, job_id: str) -> Job:
        """Like `ended`, for a thread."""
        woken = threading.Event()
        with self.queue.events.watched(job_id, woken.set):
            while not (job := self.queue.store.get(job_id)).state.is_final:
                woken.wait()
                woken.clear()
        return job

    async def ended(self, job_id: str) -> Job:
        """Wait for a job's end."""
        async for _ in self.events(job_id):
            pass
        return self.queue.store.get(job_id)

    async def ended_for(self, job_ids: Sequence[str], request: Request) -> list[Job]:
        """Wait for jobs that have only this caller: for the end of all, or for a bad end of one,
        which cancels the others. They are cancelled when the caller leaves."""
        waiting = [asyncio.create_task(self.ended(job_id)) for job_id in job_ids]
        leaving = asyncio.create_task(_left(request))
        try:
            pending: set[asyncio.Task[Any]] = set(waiting)
            while pending and not leaving.done():
                done, pending = await asyncio.wait(
                    {*pending, leaving}, return_when=asyncio.FIRST_COMPLETED
                )
                pending.discard(leaving)
                if any(each.result().state is not JobState.SUCCEEDED for each in done - {leaving}):
                    break
        finally:
            leaving.cancel()
            for job_id in job_ids:
                self.queue.cancel(job_id)
        return list(await asyncio.gather(*waiting))

    def result(self, job: Job, number: int) -> bytes:
        """The bytes of a result. Raises ApiError when somebody has deleted it."""
        try:
            return Path(job.artifacts[number].path).read_bytes()
        except OSError as error:
            message = f"result {number} of job {job.id} is gone: {error.strerror}"
            raise ApiError("not_found", message) from None

    def output_url(self, job: Job, number: int) -> str | None:
        """A signed URL of a result, where the storage has such."""
        key = job.artifacts[number].key
        if not key or not job.request.storage:
            return None
        return Storage(job.request.storage).signed_url(key, self.url_s)


async def _left(request: Request) -> None:
    """Returns when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
