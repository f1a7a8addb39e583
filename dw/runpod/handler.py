"""The handler: runs what a job of the platform asks for, and renders what became of it.

Nothing but an answer or a cancel leaves it: the SDK sends the traceback of an exception to the
caller.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from dw.errors import DwError
from dw.jobs.job import Job, JobError, JobState
from dw.jobs.job_error import job_error
from dw.jobs.log_ids import request_id
from dw.jobs.runpod_output import failure, success
from dw.jobs.service import JobService
from dw.runpod.call import Call, Default, calls_of, is_batch, unwrapped
from dw.runpod.log import RULE
from dw.runpod.progress import Progress
from dw.workflow.inputs import InvalidInputs

LARGEST_ANSWER = 10_000_000
"""Bytes of base64: what the platform takes of a job that was not waited for."""

KEPT_S, MOST_KEPT = 3600.0, 1000
"""What is remembered of jobs that have ended: nobody asks."""

LOST_WORKER = frozenset({"worker_crashed", "poison_job", "initialization_error"})
"""Error types after which another machine may be better."""

_log = logging.getLogger(__name__)

Answer = dict[str, Any]
SendUpdate = Callable[[Mapping[str, Any], Mapping[str, Any]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Policy:
    """`inline_bytes`: results of at most as many bytes of base64 are in the answer even where the
    storage has URLs. `refresh_after`: the platform is asked for a new machine after as many deaths
    of the worker in a row; 0: never. `keeps_files`: results stay on this machine as well."""

    inline_bytes: int = 0
    refresh_after: int = 2
    keeps_files: bool = False


class Handler:
    """`send_update` tells the platform the progress of a job; None: nobody listens."""

    def __init__(
        self,
        service: JobService,
        *,
        default: Default | None = None,
        policy: Policy = Policy(),  # frozen
        send_update: SendUpdate | None = None,
    ) -> None:
        self._service = service
        self._default = default
        self._policy = policy
        self._send_update = send_update
        self._deaths = 0

    @property
    def wants_refresh(self) -> bool:
        """Whether the worker has died so often in a row that another machine should go on."""
        return 0 < self._policy.refresh_after <= self._deaths

    async def answer(self, job: Mapping[str, Any]) -> Answer:
        """The answer to a job: that of its call, or of a batch all of them in one."""
        answers = [each async for each in self._answers(job)]
        told = _together(answers) if self._is_batch(job) else answers[0]
        _log.info("Status: %s", told["status"])
        return told | ({"refresh_worker": True} if self.wants_refresh else {})

    async def stream(self, job: Mapping[str, Any]) -> AsyncIterator[Answer]:
        """The same piece by piece: each result of a call, or each answer of a batch, when it is
        there. The SDK keeps of an error its message alone, so its type goes before it."""
        is_many = self._is_batch(job)
        status = "success"
        async with aclosing(self._answers(job)) as answers:
            async for answer in answers:
                if "error" in answer:
                    status = "error"
                    yield {name: value for name, value in answer.items() if name != "error"}
                    if not is_many:
                        yield answer
                elif is_many:
                    yield answer
                else:
                    for result in answer["output"]:
                        yield answer | {"output": [result]}
        _log.info("Status: %s", status)

    def _is_batch(self, job: Mapping[str, Any]) -> bool:
        return is_batch(unwrapped(job.get("input")), self._default)

    async def _answers(self, job: Mapping[str, Any]) -> AsyncGenerator[Answer, None]:
        """An answer for each call, in order."""
        name = str(job.get("id", "unknown"))
        request_id.set(name)
        for line in (RULE, "HANDLER CALLED - NEW REQUEST RECEIVED", f"Job ID: {name}", RULE):
            _log.info("%s", line)
        _log.info("Processing job: %s", name)
        if job.get("s3Config"):
            _log.warning("the s3Config of a job is not used: results go to --storage")
        submitted: list[Job] = []
        try:
            self._service.require_fitness()
            calls = calls_of(unwrapped(job.get("input")), self._default)
            jobs = [self._submitted(call, name) for call in calls]
            submitted += [each for each in jobs if isinstance(each, Job)]
            async with Progress(self._sender(job)) as progress:
                for number, each in enumerate(jobs, 1):
                    place = {"result": number, "results": len(jobs)} if len(jobs) > 1 else {}
                    yield await self._answer_of(each, place, progress)
        except asyncio.CancelledError:
            _log.info("Status: cancelled")
            raise
        except DwError as error:
            yield self._failed(job_error(error))
        except Exception:
            _log.exception("Operation failed")
            yield self._failed(JobError("internal_error", "something in dw itself went wrong"))
        finally:
            self._clean(submitted)

    def _clean(self, jobs: list[Job]) -> None:
        """End the jobs that nobody waits for any more, and forget old ones with what they left."""
        try:
            for job in jobs:
                self._service.queue.cancel(job.id)
            for _, folders in self._service.queue.store.prune(max_age_s=KEPT_S, most=MOST_KEPT):
                for folder in () if self._policy.keeps_files else folders:
                    shutil.rmtree(folder, ignore_errors=True)
        except (DwError, OSError, sqlite3.Error):  # the answer counts
            _log.exception("Operation failed")

    def _submitted(self, call: Call | InvalidInputs, name: str) -> Job | JobError:
        try:
            if isinstance(call, InvalidInputs):
                raise call
            job, _ = self._service.submit(
                call.workflow,
                call.arguments,
                seed=call.seed,
                timeout_s=call.timeout_s,
                request_id=name,
                is_awaited=True,
            )
        except DwError as error:
            return job_error(error)
        return job

    async def _answer_of(
        self, job: Job | JobError, place: Mapping[str, int], progress: Progress
    ) -> Answer:
        if isinstance(job, JobError):
            return self._failed(job)
        async for _, event in self._service.events(job.id):
            match event["event"]:
                case "JobState":
                    progress.report({"status": event["state"], **place})
                case "Stepped":
                    steps = {name: event[name] for name in ("phase", "done", "total")}
                    progress.report({"status": "running", **place, **steps})
                case "Failed" if event["trace"]:
                    _log.error("%s", event["trace"])
                case _:
                    pass
        return self._ended(self._service.queue.store.get(job.id))

    def _ended(self, job: Job) -> Answer:
        if job.state is not JobState.SUCCEEDED:
            error = job.error or JobError("cancelled", "the job was cancelled")
            self._remove_files(job, is_delivered=error.error_type != "upload_failed")
            return self._failed(error)
        self._deaths = 0
        try:
            told = success(
                self._service,
                job,
                inline_bytes=self._policy.inline_bytes,
                most_bytes=LARGEST_ANSWER,
            )
        except DwError as error:
            return self._failed(job_error(error))
        self._remove_files(job, is_delivered=True)
        _log.info("Operation completed")
        return told

    def _failed(self, error: JobError) -> Answer:
        if error.error_type in LOST_WORKER:
            self._deaths += 1
        _log.error("Operation failed: %s", error.message)
        return failure(error)

    def _remove_files(self, job: Job, *, is_delivered: bool) -> None:
        """A machine of the platform lives on for thousands of jobs whose results nobody reads
        there."""
        if job.folder and is_delivered and not self._policy.keeps_files:
            shutil.rmtree(job.folder, ignore_errors=True)

    def _sender(self, job: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], Awaitable[None]]:
        async def send(state: Mapping[str, Any]) -> None:
            if self._send_update is not None:
                await self._send_update(job, state)

        return send


def _together(answers: list[Answer]) -> Answer:
    """The answer to a batch. It has failed when every call has: then the first error is its own."""
    good = [each for each in answers if each["status"] == "success"]
    metrics = {
        "process_time": round(sum(each["metrics"]["process_time"] for each in good), 3),
        "num_samples": sum(each["metrics"]["num_samples"] for each in good),
        "failed": len(answers) - len(good),
    }
    if good:
        return {"status": "success", "output": answers, "metrics": metrics}
    return answers[0] | {"output": answers, "metrics": metrics}
