"""Replicate's API of predictions: what its unmodified client calls. A model is a workflow.

The owner of a model may be any; a workflow has one version, whose id is its name.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from io import BytesIO
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict

from dw.jobs.job import Job, JobState
from dw.server.answers import (
    Prediction,
    PredictionPage,
    ReplicateModel,
    Version,
    VersionPage,
)
from dw.server.api_error import OF_JOB, ApiError, errors
from dw.server.files import Keep
from dw.server.service import Service
from dw.server.strict import StrictRoute
from dw.workflow.inputs import arguments_schema

OWNER = "dw"
PAGE = 100  # predictions
LONGEST_WAIT_S = 60

STATUS: Mapping[JobState, str] = {
    JobState.QUEUED: "starting",
    JobState.LOADING: "starting",
    JobState.RUNNING: "processing",
    JobState.UPLOADING: "processing",
    JobState.SUCCEEDED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
    JobState.TIMED_OUT: "failed",
}

CLIENT_SCHEMA = "0.9.0"
"""A version of cog from whose schemas on the client takes lists as lists."""

_WAIT = re.compile(r"\bwait(?:=(\d{1,9}))?")
_DATA = re.compile(r"data:([\w.+-]+/[\w.+-]+)?;base64,")


Prefer = Annotated[str, Header(description="wait, or wait=SECONDS, up to 60")]


class ModelBody(BaseModel):
    """A prediction by the model that the path names."""

    model_config = ConfigDict(extra="forbid", strict=True)

    input: dict[str, Any]
    stream: Literal[False] | None = None


class PredictionBody(ModelBody):
    version: str


def replicate_api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

    async def predicted(name: str, body: ModelBody, request: Request, prefer: str) -> Any:
        base_url = str(request.base_url)
        job = await run_in_threadpool(
            submitted, service, name, body.input, base_url, request.state.request_id
        )
        if (wait := _WAIT.search(prefer)) is None:
            return prediction(service, job, base_url)
        seconds = min(int(wait[1] or LONGEST_WAIT_S), LONGEST_WAIT_S)
        job = await service.ended_within(job.id, seconds)
        told = await run_in_threadpool(prediction, service, job, base_url)
        if not job.state.is_final:  # what is not starting counts as ended to a client that waits
            told["status"] = "starting"
        return told

    of_model = errors("workflow_not_found", "workflow_invalid")
    of_job = errors("job_not_found")

    @router.post(
        "/predictions", status_code=201, response_model=Prediction, responses=errors(*OF_JOB)
    )
    async def predict(body: PredictionBody, request: Request, prefer: Prefer = "") -> Any:
        """Accept a prediction; with `Prefer: wait` its end is waited for. It lives on when the
        caller leaves."""
        return await predicted(body.version.rpartition("/")[2], body, request, prefer)

    @router.post(
        "/models/{owner}/{name}/predictions",
        status_code=201,
        response_model=Prediction,
        responses=errors(*OF_JOB),
    )
    async def predict_by(
        owner: str,  # noqa: ARG001
        name: str,
        body: ModelBody,
        request: Request,
        prefer: Prefer = "",
    ) -> Any:
        """The same for the model that the path names."""
        return await predicted(name, body, request, prefer)

    @router.get("/predictions", response_model=PredictionPage, responses=of_job)
    def list_predictions(request: Request, cursor: Annotated[str | None, Query()] = None) -> Any:
        """The newest first."""
        base_url = str(request.base_url)
        found = service.queue.store.jobs(after=cursor, limit=PAGE)
        has_more = len(found) == PAGE
        return {
            "previous": None,
            "next": f"{base_url}v1/predictions?cursor={found[-1].id}" if has_more else None,
            "results": [prediction(service, job, base_url, holds_data=False) for job in found],
        }

    @router.get("/predictions/{job_id}", response_model=Prediction, responses=of_job)
    def show_prediction(job_id: str, request: Request) -> Any:
        return prediction(service, service.queue.store.get(job_id), str(request.base_url))

    @router.post("/predictions/{job_id}/cancel", response_model=Prediction, responses=of_job)
    def cancel_prediction(job_id: str, request: Request) -> Any:
        """Cancel a prediction; it is `canceled` when its run has stopped."""
        return prediction(service, service.queue.cancel(job_id), str(request.base_url))

    @router.get("/models/{owner}/{name}", response_model=ReplicateModel, responses=of_model)
    def show_model(owner: str, name: str, request: Request) -> Any:
        return {
            "url": f"{request.base_url}workflows/{name}",
            "owner": owner,
            "name": name,
            "description": service.document(name).description,
            "visibility": "public",
            "run_count": service.queue.store.counts(name)[JobState.SUCCEEDED],
            "latest_version": version(name),
        }

    @router.get("/models/{owner}/{name}/versions", response_model=VersionPage, responses=of_model)
    def list_versions(owner: str, name: str) -> Any:  # noqa: ARG001
        return {"previous": None, "next": None, "results": [version(name)]}

    @router.get(
        "/models/{owner}/{name}/versions/{version_id}", response_model=Version, responses=of_model
    )
    def show_version(owner: str, name: str, version_id: str) -> Any:  # noqa: ARG001
        if version_id != name:
            message = f"{name} has no version {version_id!r}; its one version is {name!r}"
            raise ApiError("not_found", message)
        return version(name)

    def version(name: str) -> dict[str, Any]:
        schemas = {
            "Input": arguments_schema(service.document(name)),
            "Output": {"type": "array", "items": {"type": "string", "format": "uri"}},
        }
        return {
            "id": name,
            "created_at": _iso(0.0),
            "cog_version": CLIENT_SCHEMA,
            "openapi_schema": {"components": {"schemas": schemas}},
        }

    return router


def submitted(
    service: Service, name: str, given: Mapping[str, Any], base_url: str, request_id: str
) -> Job:
    """The job of a prediction. Raises ApiError and what `Service.submit` raises."""
    with service.files.of_call() as keep:
        arguments = {
            key: _with_files(service, value, base_url, keep) for key, value in given.items()
        }
        job, _ = service.submit(name, arguments, request_id=request_id)
    return job


def prediction(
    service: Service, job: Job, base_url: str, *, holds_data: bool = True
) -> dict[str, Any]:
    """A job as Replicate tells it."""
    has_output = job.state is JobState.SUCCEEDED
    own = f"{base_url}v1/predictions/{job.id}"
    seed = job.request.drawn_seed if job.request.seed is None else job.request.seed
    ran_s = None if job.started is None or job.ended is None else job.ended - job.started
    return {
        "id": job.id,
        "model": f"{OWNER}/{job.request.workflow}",
        "version": job.request.workflow,
        "status": STATUS[job.state],
        "input": dict(job.request.arguments),
        "output": [
            _output(service, job, number, base_url, holds_data=holds_data)
            for number in range(len(job.artifacts))
        ]
        if has_output
        else None,
        "error": None if job.error is None else job.error.message,
        "logs": f"Using seed: {seed}",
        "metrics": {} if ran_s is None else {"predict_time": round(ran_s, 3)},
        "created_at": _iso(job.created),
        "started_at": _iso(job.started),
        "completed_at": _iso(job.ended) if job.state.is_final else None,
        "urls": {"get": own, "cancel": f"{own}/cancel"},
    }


def _output(service: Service, job: Job, number: int, base_url: str, *, holds_data: bool) -> str:
    """A result as a URL. The client makes a file of one that begins with https: or data:, so
    without TLS it is the data itself."""
    url = service.output_url(job, number) or f"{base_url}v1/jobs/{job.id}/outputs/{number}"
    if url.startswith("https:") or not holds_data:
        return url
    content = base64.b64encode(service.result(job, number)).decode()
    return f"data:{job.artifacts[number].content_type};base64,{content}"


def _with_files(service: Service, value: Any, base_url: str, keep: Keep) -> Any:
    """A value in which files that the caller sent are paths. Raises ApiError."""
    if isinstance(value, list):
        return [_with_files(service, each, base_url, keep) for each in value]
    if not isinstance(value, str):
        return value
    if match := _DATA.match(value):
        try:
            content = base64.b64decode(value[match.end() :], validate=True)
        except ValueError:
            raise ApiError("invalid_value", "a data: URL is not base64") from None
        return keep(BytesIO(content), "")
    own = f"{base_url}v1/files/"
    if value.startswith(own):
        return str(service.files.path(value.removeprefix(own).removesuffix("/content")))
    return value


def _iso(time_s: float | None) -> str | None:
    if time_s is None:
        return None
    return datetime.fromtimestamp(time_s, UTC).isoformat().replace("+00:00", "Z")
