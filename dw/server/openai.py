"""OpenAI's API of models and images: what its unmodified clients call. A model is a workflow.

A parameter that a workflow has no use for is refused by name: one that is ignored would be a lie.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from dw.jobs.job import Job
from dw.seeds import MAX_SEED
from dw.server.api_error import ApiError
from dw.server.native import require_success
from dw.server.service import Service

PATHS = ("/v1/images", "/v1/models")
"""Paths whose errors have OpenAI's shape."""

MOST_IMAGES = 10
_SIZE = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})")


class Generation(BaseModel):
    """Images to be made. Further fields are arguments of the workflow."""

    model_config = ConfigDict(extra="allow", strict=True)

    model: str
    prompt: str | None = None
    n: int | None = Field(default=None, ge=1, le=MOST_IMAGES)
    size: str | None = None
    response_format: Literal["b64_json", "url"] | None = None
    seed: int | None = Field(default=None, ge=0, le=MAX_SEED)

    def arguments(self) -> dict[str, Any]:
        """The arguments of the workflow. Raises ApiError."""
        given = dict(self.model_extra or {})
        if self.prompt is not None:
            given["prompt"] = self.prompt
        if self.size not in (None, "auto"):
            if (match := _SIZE.fullmatch(str(self.size))) is None:
                message = f"size must be auto or WIDTHxHEIGHT in pixels, got {self.size!r}"
                raise ApiError("invalid_value", message, param="size")
            given |= {"width": int(match[1]), "height": int(match[2])}
        return given


def openai_api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1")

    @router.get("/models")
    def list_models() -> dict[str, Any]:
        return {"object": "list", "data": [model(name) for name in service.catalog.names()]}

    @router.get("/models/{name}")
    def show_model(name: str) -> dict[str, Any]:
        service.catalog.document(name)
        return model(name)

    @router.post("/images/generations")
    async def generate(body: Generation, request: Request) -> dict[str, Any]:
        """Make images and wait for them. Image `k` of `n` has the seed `seed + k`."""
        jobs = await service.ended_for(submitted(body, request), request)
        for job in jobs:
            require_success(job)
        return images(service, jobs, body.response_format or "b64_json", str(request.base_url))

    def submitted(body: Generation, request: Request) -> list[str]:
        """The ids of a job for each image. Raises ApiError and what `Service.submit` raises."""
        arguments = body.arguments()
        if body.size not in (None, "auto"):
            variables = service.catalog.document(body.model).variables
            if not {"width", "height"} <= variables.keys():
                message = f"{body.model} has no variables 'width' and 'height', so takes no size"
                raise ApiError("unknown_field", message, param="size")
        ids: list[str] = []
        for number in range(body.n or 1):
            seed = None if body.seed is None else (body.seed + number) % (MAX_SEED + 1)
            try:
                job, _ = service.submit(
                    body.model,
                    arguments,
                    request_id=request.state.request_id,
                    seed=seed,
                    is_awaited=True,
                )
            except BaseException:
                for job_id in ids:
                    service.queue.cancel(job_id)
                raise
            ids.append(job.id)
        return ids

    return router


def model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "dw"}


def images(service: Service, jobs: list[Job], form: str, base_url: str) -> dict[str, Any]:
    """The answer with the images of jobs. Raises ApiError where one made none."""
    data: list[Mapping[str, str]] = []
    for job in jobs:
        found = [
            (number, artifact)
            for number, artifact in enumerate(job.artifacts)
            if artifact.content_type.startswith("image/")
        ]
        if not found:
            raise ApiError("empty_output", f"job {job.id} made no image")
        for number, artifact in found:
            if form == "url":
                url = service.output_url(job, number)
                own = f"{base_url}v1/jobs/{job.id}/outputs/{number}"
                data.append({"url": url or own})
            else:
                content = Path(artifact.path).read_bytes()
                data.append({"b64_json": base64.b64encode(content).decode()})
    return {
        "created": int(jobs[0].created),
        "data": data,
        "dw": {
            "job_ids": [job.id for job in jobs],
            "seeds": [_seed(job) for job in jobs],
        },
    }


def _seed(job: Job) -> int:
    return job.request.drawn_seed if job.request.seed is None else job.request.seed
