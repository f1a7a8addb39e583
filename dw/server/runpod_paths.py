"""RunPod's endpoint API: /v2/{workflow}/run, runsync, status, stream, cancel, retry, health.

An endpoint is a workflow, and `input` holds its arguments. The client keeps nothing of an answer
but `output`, so an error's message is in there as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from dw.errors import DwError
from dw.jobs.job import FINAL, Job, JobError, JobState
from dw.jobs.runpod_output import failure, success
from dw.jobs.store import JobNotFound
from dw.server.answers import (
    RunPodCancelled,
    RunPodHealth,
    RunPodJob,
    RunPodPurged,
    RunPodStream,
)
from dw.server.api_error import ApiError, errors
from dw.server.limits import LONGEST_RUN_S
from dw.server.service import Service
from dw.server.strict import StrictRoute

STATUS: Mapping[JobState, str] = {
    JobState.QUEUED: "IN_QUEUE",
    JobState.LOADING: "IN_PROGRESS",
    JobState.RUNNING: "IN_PROGRESS",
    JobState.UPLOADING: "IN_PROGRESS",
    JobState.SUCCEEDED: "COMPLETED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "CANCELLED",
    JobState.TIMED_OUT: "TIMED_OUT",
}

SYNC_WAIT_MS = 90_000
LONGEST_WAIT_MS = 300_000
MOST_STREAMED = 10_000


class Policy(BaseModel):
    """`executionTimeout` in milliseconds. `ttl` is taken and has no effect: jobs that wait do not
    expire."""

    model_config = ConfigDict(extra="forbid", strict=True)

    executionTimeout: int | None = Field(default=None, gt=0, le=1000 * LONGEST_RUN_S)  # noqa: N815
    ttl: int | None = Field(default=None, gt=0)
    lowPriority: bool = False  # noqa: N815


class RunBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    input: dict[str, Any]
    policy: Policy = Policy()


def runpod_api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v2/{endpoint}", route_class=StrictRoute)
    unserved = errors("workflow_not_found", "workflow_invalid")
    of_job = errors("workflow_not_found", "queue_full", "shutting_down")
    unknown = errors("job_not_found")
    streamed: dict[str, None] = {}  # the jobs whose result was given as a stream, in order

    def known(endpoint: str) -> None:
        service.document(endpoint)

    served = [Depends(known)]

    def submitted(endpoint: str, body: RunBody, request: Request, **options: Any) -> dict[str, Any]:
        """The answer to a new job; a refusal is a job that failed, as the platform tells it."""
        arguments = dict(body.input)
        if arguments.keys() == {"input"} and isinstance(arguments["input"], dict):
            arguments = arguments["input"]  # the client wraps what is empty once more
        seed = arguments.pop("seed", None)
        timeout_ms = body.policy.executionTimeout
        try:
            job, _ = service.submit(
                endpoint,
                arguments,
                seed=seed,
                request_id=request.state.request_id,
                timeout_s=None if timeout_ms is None else timeout_ms / 1000,
                priority=-1 if body.policy.lowPriority else 0,
                **options,
            )
        except DwError as error:
            refused = ApiError.of(error)
            if refused.type.status == 404 or refused.type.is_retryable:
                raise refused from None
            found = JobError(refused.type.name, refused.message)
            return {"id": request.state.request_id, "status": "FAILED", **_failed(found)}
        return answer(job)

    def found(endpoint: str, job_id: str) -> Job:
        """Raises JobNotFound also for a job of another endpoint."""
        job = service.queue.store.get(job_id)
        if job.request.workflow != endpoint:
            raise JobNotFound(f"there is no job {job_id!r}")
        return job

    def answer(job: Job) -> dict[str, Any]:
        """A job as the platform tells it; times in milliseconds."""
        told: dict[str, Any] = {"id": job.id, "status": STATUS[job.state]}
        if job.started is not None:
            told["delayTime"] = round(1000 * (job.started - job.created))
        if job.started is not None and job.ended is not None:
            told["executionTime"] = round(1000 * (job.ended - job.started))
        if job.state is JobState.SUCCEEDED:
            told["output"] = success(service, job)
        elif job.error is not None:
            told |= _failed(job.error)
        return told

    @router.post("/run", response_model=RunPodJob, responses=of_job)
    def run(endpoint: str, body: RunBody, request: Request) -> dict[str, Any]:
        """Accept a job."""
        return submitted(endpoint, body, request)

    @router.post("/runsync", response_model=RunPodJob, responses=of_job)
    async def run_sync(
        endpoint: str,
        body: RunBody,
        request: Request,
        wait: Annotated[int, Query(ge=1000, le=LONGEST_WAIT_MS)] = SYNC_WAIT_MS,
    ) -> dict[str, Any]:
        """Accept a job, and wait up to `wait` milliseconds for its end; it lives on after that."""
        told = submitted(endpoint, body, request, is_awaited=True)
        if told["status"] == "FAILED":
            return told
        (job,) = await service.ended_for([told["id"]], request, wait / 1000)
        return answer(job)

    @router.get("/status/{job_id}", response_model=RunPodJob, responses=unknown)
    @router.post("/status/{job_id}", response_model=RunPodJob, responses=unknown)
    def status(endpoint: str, job_id: str) -> dict[str, Any]:
        """A job as it is now."""
        return answer(found(endpoint, job_id))

    @router.get("/stream/{job_id}", response_model=RunPodStream, responses=unknown)
    @router.post("/stream/{job_id}", response_model=RunPodStream, responses=unknown)
    def stream(endpoint: str, job_id: str) -> dict[str, Any]:
        """The result as a stream of one chunk, which is given once: the client ends with the first
        answer without any. To it a cancelled job would never end."""
        told = answer(found(endpoint, job_id))
        if told["status"] == "CANCELLED":
            told["status"] = "FAILED"
        is_new = "output" in told and job_id not in streamed
        if is_new:
            streamed[job_id] = None
            if len(streamed) > MOST_STREAMED:
                del streamed[next(iter(streamed))]
        return {"status": told["status"], "stream": [{"output": told["output"]}] if is_new else []}

    @router.post("/cancel/{job_id}", response_model=RunPodCancelled, responses=unknown)
    def cancel(endpoint: str, job_id: str) -> dict[str, Any]:
        """Answers before a running job has stopped, as the client waits for 3 seconds only."""
        job = service.queue.cancel(found(endpoint, job_id).id)
        return {"id": job.id, "status": STATUS[job.state if job.state in FINAL else _CANCELLED]}

    @router.post(
        "/retry/{job_id}", response_model=RunPodJob, responses=unknown | errors("not_retryable")
    )
    def retry(endpoint: str, job_id: str) -> dict[str, Any]:
        """Queue a job that ended badly once more."""
        return answer(service.queue.retry(found(endpoint, job_id).id))

    @router.post(
        "/purge-queue", response_model=RunPodPurged, dependencies=served, responses=unserved
    )
    def purge_queue(endpoint: str) -> dict[str, Any]:
        """Cancel the jobs of an endpoint that wait."""
        waiting = service.queue.store.jobs(
            states=frozenset({JobState.QUEUED}), workflow=endpoint, limit=-1
        )
        removed = [service.queue.cancel(job.id).state is _CANCELLED for job in waiting]
        return {"removed": sum(removed), "status": "completed"}

    @router.get("/health", response_model=RunPodHealth, dependencies=served, responses=unserved)
    def health(endpoint: str) -> dict[str, Any]:
        """How many jobs of an endpoint there are, and workers."""
        counts = service.queue.store.counts(endpoint)
        busy = sum(slot.client.status().run_id is not None for slot in service.queue.slots)
        return {
            "jobs": {
                "completed": counts[JobState.SUCCEEDED],
                "failed": counts[JobState.FAILED] + counts[JobState.TIMED_OUT],
                "inProgress": sum(counts[s] for s in JobState if STATUS[s] == "IN_PROGRESS"),
                "inQueue": counts[JobState.QUEUED],
                "retried": 0,
            },
            "workers": {"idle": len(service.queue.slots) - busy, "running": busy},
        }

    return router


_CANCELLED = JobState.CANCELLED


def _failed(error: JobError) -> dict[str, Any]:
    return {"error": error.message, "output": failure(error)}
