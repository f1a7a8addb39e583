"""The native API: jobs, their events and results, and the workflows that are served."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Header, Query, Request, Response
from fastapi.responses import FileResponse, JSONResponse, RedirectResponse
from fastapi.sse import format_sse_event
from pydantic import BaseModel, ConfigDict, Field

from dw.jobs.job import FINAL, Job, JobState
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.seeds import MAX_SEED
from dw.server.answers import (
    ArgumentsSchema,
    JobAnswer,
    JobPage,
    WorkflowAnswer,
    WorkflowList,
)
from dw.server.api_error import OF_JOB, OF_RUN, ApiError, errors
from dw.server.limits import LONGEST_RUN_S
from dw.server.service import Service
from dw.server.streams import EVENTS, EventStream
from dw.server.strict import StrictRoute
from dw.workflow.inputs import arguments_schema

LONGEST_PAGE = 1000
LONGEST_KEY = 255  # characters of an idempotency key
LAST_EVENT = 2**53


class JobBody(BaseModel):
    """A job to be run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workflow: str = Field(description="its name, as GET /v1/workflows lists it")
    arguments: dict[str, Any] = Field(
        default={}, description="values of the workflow's variables, by name"
    )
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)
    timeout_s: float | None = Field(
        default=None,
        gt=0,
        le=LONGEST_RUN_S,
        description="seconds that the run may execute; loading does not count",
    )
    previews: bool = Field(
        default=False, description="send Preview events with images of what is being denoised"
    )
    priority: int = Field(default=0, ge=-100, le=100, description="higher ones are run first")


def native_api(service: Service) -> APIRouter:
    """The routes under /v1, and /generate."""
    router = APIRouter(route_class=StrictRoute)

    def submitted(body: JobBody, request: Request, **options: Any) -> tuple[Job, bool]:
        return service.submit(
            body.workflow,
            body.arguments,
            request_id=request.state.request_id,
            seed=body.seed,
            timeout_s=body.timeout_s,
            priority=body.priority,
            previews=body.previews,
            **options,
        )

    def known(job_id: str) -> None:
        """Raises JobNotFound, which a stream that has begun could not answer."""
        service.queue.store.get(job_id)

    def accepted(job: Job, *, is_new: bool) -> Response:
        headers = {"location": f"/v1/jobs/{job.id}"}
        return JSONResponse(job_json(service, job), 202 if is_new else 200, headers)

    known_before: dict[int | str, Any] = {
        200: {"model": JobAnswer, "description": "The job that is there already"}
    }

    @router.post(
        "/v1/jobs",
        status_code=202,
        response_model=JobAnswer,
        responses=known_before | errors(*OF_JOB, "idempotency_conflict"),
    )
    def create_job(
        body: JobBody,
        request: Request,
        idempotency_key: Annotated[str | None, Header(max_length=LONGEST_KEY)] = None,
    ) -> Response:
        """Accept a job. With an `Idempotency-Key`, the same request is the same job."""
        job, is_new = submitted(body, request, key=idempotency_key)
        return accepted(job, is_new=is_new)

    @router.put(
        "/v1/jobs/{job_id}",
        status_code=202,
        response_model=JobAnswer,
        responses=known_before | errors(*OF_JOB, "idempotency_conflict"),
    )
    def create_job_with_id(job_id: str, body: JobBody, request: Request) -> Response:
        """Accept a job under an id of the caller's, `j_` and 12 hexadecimal digits. The same
        request again is the same job."""
        job, is_new = submitted(body, request, job_id=job_id)
        return accepted(job, is_new=is_new)

    @router.get("/v1/jobs", responses=errors("job_not_found"))
    def list_jobs(
        state: JobState | None = None,
        workflow: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = 100,
    ) -> JobPage:
        """The newest jobs first; the page after this one begins after the last id of this one."""
        states = frozenset(JobState) if state is None else frozenset({state})
        found = service.queue.store.jobs(states=states, workflow=workflow, after=after, limit=limit)
        return {"jobs": [job_json(service, job) for job in found]}

    @router.get("/v1/jobs/{job_id}", responses=errors("job_not_found"))
    def show_job(job_id: str) -> JobAnswer:
        """A job as it is now."""
        return job_json(service, service.queue.store.get(job_id))

    @router.post("/v1/jobs/{job_id}/cancel", responses=errors("job_not_found"))
    def cancel_job(job_id: str) -> JobAnswer:
        """Cancel a job: at once when it waits, at its next consistent point when it runs. No effect
        on one that has ended."""
        return job_json(service, service.queue.cancel(job_id))

    @router.post("/v1/jobs/{job_id}/retry", responses=errors("job_not_found", "not_retryable"))
    def retry_job(job_id: str) -> JobAnswer:
        """Queue a job that ended badly once more, with the same seed."""
        return job_json(service, service.queue.retry(job_id))

    @router.get(
        "/v1/jobs/{job_id}/events",
        response_class=Response,
        responses={
            **errors("job_not_found"),
            200: EVENTS,
        },
        dependencies=[Depends(known)],
    )
    async def job_events(
        job_id: str, last_event_id: Annotated[int, Header(ge=0, le=LAST_EVENT)] = 0
    ) -> EventStream:
        """The events of a job as server-sent events, from the first, or from the one after
        `Last-Event-ID`; the stream ends with the job."""
        return EventStream(_events(service, job_id, last_event_id))

    @router.get(
        "/v1/jobs/{job_id}/outputs/{number}",
        response_class=Response,
        responses={
            **errors("job_not_found", "not_found"),
            200: {"content": {"*/*": {"schema": {"type": "string", "format": "binary"}}}},
            307: {"description": "Its signed URL", "content": {}},
        },
    )
    def job_output(job_id: str, number: int) -> Response:
        """The bytes of a result, or a redirect to its signed URL."""
        job = service.queue.store.get(job_id)
        if not 0 <= number < len(job.artifacts) or job.state is not JobState.SUCCEEDED:
            raise ApiError("not_found", f"job {job_id} is {job.state} and has no result {number}")
        if url := service.output_url(job, number):
            return RedirectResponse(url, 307)
        artifact = job.artifacts[number]
        if not Path(artifact.path).is_file():
            raise ApiError("not_found", f"result {number} of job {job_id} was deleted")
        return FileResponse(artifact.path, media_type=artifact.content_type)

    @router.get("/v1/workflows")
    def list_workflows() -> WorkflowList:
        """The workflows that are served."""
        return {"workflows": [{"name": name} for name in service.catalog.names()]}

    of_workflow = errors("workflow_not_found", "workflow_invalid")

    @router.get("/v1/workflows/{name}", responses=of_workflow)
    def show_workflow(name: str) -> WorkflowAnswer:
        """A workflow's description and arguments."""
        document = service.document(name)
        rows = OpenWorkflow(document).arguments()
        return {
            "name": name,
            "description": document.description,
            "arguments": [{"name": r.name, "type": r.type, "default": r.default} for r in rows],
        }

    @router.get("/v1/workflows/{name}/schema", responses=of_workflow)
    def workflow_schema(name: str) -> ArgumentsSchema:
        """The JSON Schema of a workflow's arguments, its `inputs`."""
        return cast(ArgumentsSchema, arguments_schema(service.document(name)))

    @router.post("/generate", responses=errors(*OF_JOB, *OF_RUN))
    async def generate(body: JobBody, request: Request) -> JobAnswer:
        """Run a job and wait for its results; it is cancelled when the caller leaves."""
        job, _ = submitted(body, request, is_awaited=True)
        (ended,) = await service.ended_for([job.id], request)
        require_success(ended)
        return job_json(service, ended)

    return router


async def _events(service: Service, job_id: str, after: int) -> AsyncGenerator[bytes, None]:
    async for number, event in service.events(job_id, after):
        yield format_sse_event(
            data_str=json.dumps(event), event=str(event["event"]), id=str(number)
        )


def require_success(job: Job) -> None:
    """Raises ApiError for a job that ended badly."""
    if job.error is not None:
        raise ApiError.of_job(job.error)
    if job.state is not JobState.SUCCEEDED:
        raise ApiError("cancelled", f"job {job.id} was {job.state}")


def job_json(service: Service, job: Job) -> JobAnswer:
    """A job as callers see it."""
    request = job.request
    shows_results = job.state is JobState.SUCCEEDED
    return {
        "id": job.id,
        "state": job.state,
        "workflow": request.workflow,
        "arguments": dict(request.arguments),
        "seed": request.drawn_seed if request.seed is None else request.seed,
        "priority": request.priority,
        "request_id": request.request_id,
        "created": job.created,
        "started": job.started,
        "ended": job.ended if job.state in FINAL else None,
        "attempts": job.attempts,
        "worker": job.worker,
        "error": None
        if job.error is None
        else {
            "error_type": job.error.error_type,
            "message": job.error.message,
            "param": job.error.param,
            "retryable": job.error.is_retryable,
        },
        "outputs": [
            {
                "content_type": artifact.content_type,
                "nbytes": artifact.nbytes,
                "sha256": artifact.sha256,
                "key": artifact.key or None,
                "url": service.output_url(job, number) or f"/v1/jobs/{job.id}/outputs/{number}",
            }
            for number, artifact in enumerate(job.artifacts if shows_results else ())
        ],
    }
