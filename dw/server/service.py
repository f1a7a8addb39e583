"""The service: what every face of the server works with beside the jobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.events import Run
from dw.jobs.job import Job, JobState
from dw.jobs.job_request import job_request
from dw.jobs.service import JobService
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.server.access import Keys
from dw.server.api_error import ApiError
from dw.server.files import FileStore
from dw.server.limits import Limits
from dw.types import Permissions
from dw.workflow import parse_document
from dw.workflow.inputs import InvalidInputs, check_inputs
from dw.workflow.paths import may_read

if TYPE_CHECKING:
    from starlette.requests import Request


INLINE = "inline"
"""The name of workflows that callers send: a label of metrics, which is not theirs to choose."""


@dataclass(frozen=True)
class Service(JobService):
    """`files` are what callers uploaded; batches are kept in `state_folder`. With `allows_text`
    callers may send workflows as text."""

    keys: Keys
    state_folder: Path
    files: FileStore
    allows_text: bool = False
    limits: Limits = field(default_factory=Limits)

    @property
    def permissions(self) -> Permissions:
        return self.catalog.permissions

    @property
    def folder(self) -> Path:
        """The folder of the workflows that are served."""
        return self.catalog.folder

    def submit_text(
        self, run: Run, *, request_id: str, timeout_s: float | None = None
    ) -> tuple[Job, bool]:
        """The job of a workflow whose text the caller sends, with nothing but its text and its
        arguments. It may name files where the server's own workflows may.

        Raises ApiError where the server takes no texts, and DwError as `submit` does.
        """
        self.require_fitness()
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
                name=INLINE,
                timeout_s=timeout_s,
                storage=self.storage_url,
                request_id=request_id,
                is_awaited=True,
                previews=run.preview_s is not None,
                partial_images=run.partial_images,
            ),
            drawn_seed=run.drawn_seed,
            is_kept=True,
        )
        return self.queue.submit(request)

    async def ended_within(self, job_id: str, seconds: float) -> Job:
        """Wait for a job's end for so long. It lives on after that, and when the caller leaves."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended(job_id), seconds)
        return self.queue.store.get(job_id)

    async def ended_for(
        self, job_ids: Sequence[str], request: Request, wait_s: float | None = None
    ) -> list[Job]:
        """Wait for jobs that have only this caller: for the end of all, or for a bad end of one,
        which cancels the others. They are cancelled when the caller leaves; after `wait_s` seconds
        they live on."""
        waiting = [asyncio.create_task(self.ended(job_id)) for job_id in job_ids]
        leaving = asyncio.create_task(left(request))
        live_on = False
        try:
            pending: set[asyncio.Task[Any]] = set(waiting)
            async with asyncio.timeout(wait_s):
                while pending and not leaving.done():
                    done, pending = await asyncio.wait(
                        {*pending, leaving}, return_when=asyncio.FIRST_COMPLETED
                    )
                    pending.discard(leaving)
                    ended = done - {leaving}
                    if any(each.result().state is not JobState.SUCCEEDED for each in ended):
                        break
        except TimeoutError:
            live_on = True
        finally:
            leaving.cancel()
            for job_id, task in zip(job_ids, waiting, strict=True):
                if live_on:
                    task.cancel()
                elif not task.done():
                    self.queue.cancel(job_id)
        if live_on:
            return [self.queue.store.get(job_id) for job_id in job_ids]
        return list(await asyncio.gather(*waiting))


async def left(request: Request) -> None:
    """Returns when the caller has gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
