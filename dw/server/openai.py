"""OpenAI's API of models and images: what its unmodified clients call. A model is a workflow.

A parameter that a workflow has no use for is refused by name: one that is ignored would be a lie.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dw.jobs.job import Job
from dw.seeds import MAX_SEED
from dw.server.api_error import ApiError, of_model
from dw.server.batches import Batches
from dw.server.native import require_success
from dw.server.service import Service
from dw.server.strict import StrictRoute

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


class BatchBody(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    input_file_id: str
    endpoint: Literal["/v1/images/generations"]
    completion_window: str
    metadata: dict[str, str] | None = None


def openai_api(service: Service, batches: Batches) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

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
        return await answered(body, request)

    @router.post("/images/edits")
    async def edit(request: Request) -> dict[str, Any]:
        """Make images from images. The fields of the form are those of a generation; `image` and
        `mask` are files, several images are `image[]`."""
        fields, images = await uploaded(service, request)
        return await answered(generation(fields, images), request)

    async def answered(body: Generation, request: Request) -> dict[str, Any]:
        ids = await run_in_threadpool(submitted, service, body, request.state.request_id)
        jobs = await service.ended_for(ids, request)
        for job in jobs:
            require_success(job)
        return images(service, jobs, body.response_format or "b64_json", str(request.base_url))

    @router.post("/files")
    def add_file(
        request: Request,
        file: UploadFile | None = None,
        purpose: Annotated[Literal["batch", "user_data"] | None, Form()] = None,
        content: UploadFile | None = None,
    ) -> dict[str, Any]:
        """Keep a file: `file` with its `purpose`, or `content`, as Replicate's client sends it."""
        if (sent := file or content) is None or (file and purpose is None):
            missing = "purpose" if file else "file"
            message = f"Missing required field: {missing!r}"
            raise ApiError("missing_field", message, param=missing)
        stored = service.files.add(sent.file, sent.filename or "", purpose or "user_data")
        return stored.to_json(str(request.base_url))

    @router.get("/files")
    def list_files(request: Request, purpose: str | None = None) -> dict[str, Any]:
        found = [file.to_json(str(request.base_url)) for file in service.files.all(purpose)]
        return {"object": "list", "data": found, "results": found, "has_more": False}

    @router.get("/files/{file_id}")
    def show_file(file_id: str, request: Request) -> dict[str, Any]:
        return service.files.get(file_id).to_json(str(request.base_url))

    @router.get("/files/{file_id}/content")
    def file_content(file_id: str) -> Response:
        path = service.files.path(file_id)
        return FileResponse(path, media_type="application/octet-stream")

    @router.delete("/files/{file_id}")
    def delete_file(file_id: str) -> dict[str, Any]:
        service.files.delete(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    @router.post("/batches")
    def create_batch(body: BatchBody) -> dict[str, Any]:
        return batches.create(
            body.input_file_id, body.endpoint, body.completion_window, body.metadata
        )

    @router.get("/batches")
    def list_batches() -> dict[str, Any]:
        return {"object": "list", "data": batches.all(), "has_more": False}

    @router.get("/batches/{batch_id}")
    def show_batch(batch_id: str) -> dict[str, Any]:
        return batches.get(batch_id)

    @router.post("/batches/{batch_id}/cancel")
    def cancel_batch(batch_id: str) -> dict[str, Any]:
        return batches.cancel(batch_id)

    return router


def submitted(service: Service, body: Generation, request_id: str) -> list[str]:
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
                body.model, arguments, request_id=request_id, seed=seed, is_awaited=True
            )
        except BaseException:
            for job_id in ids:
                service.queue.cancel(job_id)
            raise
        ids.append(job.id)
    return ids


async def uploaded(
    service: Service, request: Request
) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The fields of a form, and the paths of the files in it, by their fields. Raises ApiError."""
    fields: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    async with request.form(max_files=MOST_IMAGES + 1) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
                continue
            stored = await run_in_threadpool(
                service.files.add, value.file, value.filename or "", "user_data"
            )
            path = str(service.files.path(stored.id))
            files.setdefault(name.removesuffix("[]"), []).append(path)
    return fields, files


def generation(fields: Mapping[str, str], files: Mapping[str, list[str]]) -> Generation:
    """The request that a form makes, whose numbers are text. Raises ApiError."""
    given: dict[str, Any] = dict(fields)
    for name in ("n", "seed"):
        if name in given and re.fullmatch(r"-?\d{1,18}", given[name]):
            given[name] = int(given[name])
    for name, paths in files.items():
        given[name] = paths[0] if len(paths) == 1 else paths
    try:
        return Generation.model_validate(given)
    except ValidationError as error:
        raise of_model(error) from None


def batches_of(service: Service) -> Batches:
    """Batches of generations, whose jobs have no caller who waits."""

    def submit(body: Mapping[str, Any], key: str) -> Job:
        try:
            wanted = Generation.model_validate(body)
        except ValidationError as error:
            raise of_model(error) from None
        if wanted.n not in (None, 1):
            raise ApiError("invalid_value", "n is 1 in a batch: each line is one image", param="n")
        job, _ = service.submit(
            wanted.model, wanted.arguments(), request_id=key, seed=wanted.seed, key=key
        )
        return job

    def answer(job: Job) -> dict[str, Any]:
        require_success(job)
        return images(service, [job], "b64_json", "")

    return Batches(
        service.state_folder / "batches",
        service.files,
        submit=submit,
        ended=service.wait,
        answer=answer,
        cancel=service.queue.cancel,
    )


def model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "dw"}


def images(service: Service, jobs: list[Job], form: str, base_url: str) -> dict[str, Any]:
    """The answer with the images of jobs. Raises ApiError where one made none."""
    data: list[Mapping[str, str]] = []
    for job in jobs:
        found = [
            number
            for number, artifact in enumerate(job.artifacts)
            if artifact.content_type.startswith("image/")
        ]
        if not found:
            raise ApiError("empty_output", f"job {job.id} made no image")
        for number in found:
            if form == "url":
                url = service.output_url(job, number)
                own = f"{base_url}v1/jobs/{job.id}/outputs/{number}"
                data.append({"url": url or own})
            else:
                content = service.result(job, number)
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
