"""OpenAI's API of models and images: what its unmodified clients call. A model is a workflow.

A parameter that a workflow has no use for is refused by name: one that is ignored would be a lie.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Form, Query, Request, UploadFile
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dw.jobs.job import Job
from dw.seeds import MAX_SEED
from dw.server.answers import (
    BatchAnswer,
    BatchList,
    FileAnswer,
    FileDeleted,
    FileList,
    ImageAnswer,
    ImagesAnswer,
    ModelAnswer,
    ModelList,
)
from dw.server.api_error import OF_BODY, OF_JOB, OF_RUN, ApiError, errors, of_model
from dw.server.batches import Batches
from dw.server.files import Keep
from dw.server.image_stream import Kind, streamed
from dw.server.native import require_success
from dw.server.service import Service
from dw.server.streams import EVENTS, EventStream
from dw.server.strict import FORM, StrictRoute, require_content_type

MOST_IMAGES = 10
LONGEST_PAGE = 10_000
BYTES = "application/octet-stream"
T = TypeVar("T")
STREAM: dict[int | str, dict[str, Any]] = {200: EVENTS}
"""What a successful answer may be beside JSON."""

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
    stream: bool | None = None
    partial_images: int | None = Field(default=None, ge=0, le=3)

    def require_streamable(self) -> None:
        """Raises ApiError for what only a stream, or no stream, can have."""
        if self.stream:
            if self.n not in (None, 1):
                raise ApiError("invalid_value", "n is 1 in a stream: it is one image", param="n")
            if self.response_format == "url":
                message = "a stream has the bytes of its images: response_format is b64_json"
                raise ApiError("invalid_value", message, param="response_format")
        elif self.partial_images:
            message = 'partial_images need a stream: "stream": true'
            raise ApiError("invalid_value", message, param="partial_images")

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


EDIT = {
    "type": "object",
    "description": "the fields of a generation, numbers as text; files for images and the mask",
    "properties": {
        "model": {"type": "string"},
        "prompt": {"type": "string"},
        "image": {"type": "string", "format": "binary"},
        "mask": {"type": "string", "format": "binary"},
    },
    "required": ["model"],
}


def openai_api(service: Service, batches: Batches) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

    @router.get("/models")
    def list_models() -> ModelList:
        return {"object": "list", "data": [model(name) for name in service.catalog.names()]}

    @router.get("/models/{name}", responses=errors("workflow_not_found", "workflow_invalid"))
    def show_model(name: str) -> ModelAnswer:
        service.document(name)
        return model(name)

    @router.post(
        "/images/generations",
        response_model=ImagesAnswer,
        responses=STREAM | errors(*OF_JOB, *OF_RUN),
    )
    async def generate(body: Generation, request: Request) -> ImagesAnswer | Response:
        """Make images and wait for them. Image `k` of `n` has the seed `seed + k`. With `stream`
        the answer is server-sent events, among them up to 3 `partial_images`."""
        return await answered(await accepted(body, request), body, request, "image_generation")

    @router.post(
        "/images/edits",
        response_model=ImagesAnswer,
        responses=STREAM | errors(*OF_JOB, *OF_RUN, *OF_BODY),
        openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": EDIT}}}},
    )
    async def edit(request: Request) -> ImagesAnswer | Response:
        """Make images from images. The fields of the form are those of a generation; `image` and
        `mask` are files, several images are `image[]`."""
        with service.files.of_call() as keep:
            body = generation(*await uploaded(keep, request))
            ids = await accepted(body, request)
        return await answered(ids, body, request, "image_edit")

    async def accepted(body: Generation, request: Request) -> list[str]:
        body.require_streamable()
        return await run_in_threadpool(submitted, service, body, request.state.request_id)

    async def answered(
        ids: list[str], body: Generation, request: Request, kind: Kind
    ) -> ImagesAnswer | Response:
        if body.stream:
            job = service.queue.store.get(ids[0])
            events = streamed(service, job, kind, request, size=body.size or "auto")
            return EventStream(events, on_end=lambda: service.queue.cancel(job.id))
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
    ) -> FileAnswer:
        """Keep a file, which goes to the disk as it comes: `file` with its `purpose`, or `content`,
        as Replicate's client sends it."""
        if (sent := file or content) is None or (file and purpose is None):
            missing = "purpose" if file else "file"
            message = f"Missing required field: {missing!r}"
            raise ApiError("missing_field", message, param=missing)
        stored = service.files.add(sent.file, sent.filename or "", purpose or "user_data")
        return stored.to_json(str(request.base_url))

    @router.get("/files", responses=errors("not_found"))
    def list_files(
        request: Request,
        purpose: str | None = None,
        after: str | None = None,
        limit: Annotated[int, Query(ge=1, le=LONGEST_PAGE)] = LONGEST_PAGE,
        order: Literal["asc", "desc"] = "desc",
    ) -> FileList:
        """The newest files first; the page after this one begins after the last id of this one."""
        found = service.files.all(purpose)
        if order == "asc":
            found.reverse()
        page, has_more = page_of(found, [file.id for file in found], after, limit)
        told = [file.to_json(str(request.base_url)) for file in page]
        return {"object": "list", "data": told, "results": told, "has_more": has_more}

    @router.get("/files/{file_id}")
    def show_file(file_id: str, request: Request) -> FileAnswer:
        return service.files.get(file_id).to_json(str(request.base_url))

    @router.get(
        "/files/{file_id}/content",
        response_class=Response,
        responses={200: {"content": {BYTES: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    def file_content(file_id: str) -> Response:
        path = service.files.path(file_id)
        return FileResponse(path, media_type=BYTES)

    @router.delete("/files/{file_id}")
    def delete_file(file_id: str) -> FileDeleted:
        service.files.delete(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    @router.post(
        "/batches",
        response_model=BatchAnswer,
        responses=errors("not_found", "invalid_value"),
    )
    def create_batch(body: BatchBody) -> dict[str, Any]:
        return batches.create(
            body.input_file_id, body.endpoint, body.completion_window, body.metadata
        )

    @router.get("/batches", response_model=BatchList, responses=errors("not_found"))
    def list_batches(
        after: str | None = None, limit: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> dict[str, Any]:
        """The newest batches first."""
        found = batches.all()
        data, has_more = page_of(found, [batch["id"] for batch in found], after, limit)
        return {"object": "list", "data": data, "has_more": has_more}

    @router.get("/batches/{batch_id}", response_model=BatchAnswer)
    def show_batch(batch_id: str) -> dict[str, Any]:
        return batches.get(batch_id)

    @router.post("/batches/{batch_id}/cancel", response_model=BatchAnswer)
    def cancel_batch(batch_id: str) -> dict[str, Any]:
        return batches.cancel(batch_id)

    return router


def submitted(service: Service, body: Generation, request_id: str) -> list[str]:
    """The ids of a job for each image. Raises ApiError and what `Service.submit` raises."""
    arguments = body.arguments()
    if body.size not in (None, "auto"):
        variables = service.document(body.model).variables
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
                request_id=request_id,
                seed=seed,
                is_awaited=True,
                partial_images=body.partial_images or 0,
            )
        except BaseException:
            for job_id in ids:
                service.queue.cancel(job_id)
            raise
        ids.append(job.id)
    return ids


async def uploaded(keep: Keep, request: Request) -> tuple[dict[str, str], dict[str, list[str]]]:
    """The fields of a form, and the paths of the files in it, by their fields. Raises ApiError."""
    require_content_type(request, FORM)
    fields: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    async with request.form(max_files=MOST_IMAGES + 1) as form:
        for name, value in form.multi_items():
            if isinstance(value, str):
                fields[name] = value
                continue
            path = await run_in_threadpool(keep, value.file, value.filename or "")
            files.setdefault(name.removesuffix("[]"), []).append(path)
    return fields, files


def generation(fields: Mapping[str, str], files: Mapping[str, list[str]]) -> Generation:
    """The request that a form makes, whose numbers are text. Raises ApiError."""
    given: dict[str, Any] = dict(fields)
    for name in ("n", "seed", "partial_images"):
        if name in given and re.fullmatch(r"-?\d{1,18}", given[name]):
            given[name] = int(given[name])
    if given.get("stream") in ("true", "false"):
        given["stream"] = given["stream"] == "true"
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
        if wanted.stream or wanted.partial_images:
            raise ApiError("invalid_value", "a batch streams nothing", param="stream")
        job, _ = service.submit(
            wanted.model, wanted.arguments(), request_id=key, seed=wanted.seed, key=key
        )
        return job

    def answer(job: Job) -> dict[str, Any]:
        require_success(job)
        return {**images(service, [job], "b64_json", "")}

    return Batches(
        service.state_folder / "batches",
        service.files,
        submit=submit,
        ended=service.wait,
        answer=answer,
        cancel=service.queue.cancel,
    )


def page_of(
    found: Sequence[T], ids: Sequence[str], after: str | None, limit: int
) -> tuple[list[T], bool]:
    """At most `limit` of what was found, from behind the id `after`, and whether there are more.

    Raises ApiError for an unknown id.
    """
    if after is not None and after not in ids:
        raise ApiError("not_found", f"there is no {after!r}", param="after")
    begin = 0 if after is None else ids.index(after) + 1
    return list(found[begin : begin + limit]), len(found) > begin + limit


def model(name: str) -> ModelAnswer:
    return {"id": name, "object": "model", "created": 0, "owned_by": "dw"}


def images(service: Service, jobs: list[Job], form: str, base_url: str) -> ImagesAnswer:
    """The answer with the images of jobs. Raises ApiError where one made none."""
    data: list[ImageAnswer] = []
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
