"""Hugging Face's inference API, as huggingface_hub's client calls it: /models/{workflow}.

The answer is the bytes of the result. `inputs` is the prompt, or the image of an image-to-image
task: the client sends that one in base64, or bare when there are no parameters. A parameter is a
variable of the workflow.
"""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, ValidationError

from dw.jobs.job import Job
from dw.server.api_error import OF_JOB, OF_RUN, ApiError, errors, of_model
from dw.server.native import require_success
from dw.server.service import Service
from dw.server.strict import StrictRoute, require_content_type

_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")
"""How the files of images begin, which no prompt does."""


class Size(BaseModel):
    """In pixels."""

    model_config = ConfigDict(extra="forbid", strict=True)

    width: int
    height: int


class Parameters(BaseModel):
    """`target_size` is of an image-to-image task. Further fields are arguments of the workflow."""

    model_config = ConfigDict(extra="allow", strict=True)

    target_size: Size | None = None


class Inference(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    inputs: str
    parameters: Parameters = Parameters()

    def arguments(self) -> dict[str, Any]:
        size = self.parameters.target_size
        return (self.parameters.model_extra or {}) | (size.model_dump() if size else {})


BINARY = {"type": "string", "format": "binary"}
BODY = {
    "application/json": {
        "schema": Inference.model_json_schema(ref_template="#/components/schemas/{model}")
    },
    "image/*": {"schema": BINARY},
}


def huggingface_api(service: Service) -> APIRouter:
    router = APIRouter(route_class=StrictRoute)

    def submitted(name: str, arguments: dict[str, Any], request_id: str) -> Job:
        with service.files.of_call() as keep:
            given = {
                key: keep(BytesIO(value), "") if isinstance(value, bytes) else value
                for key, value in arguments.items()
            }
            job, _ = service.submit(name, given, request_id=request_id, is_awaited=True)
        return job

    @router.post(
        "/models/{name}",
        response_class=Response,
        responses={
            **errors(*OF_JOB, *OF_RUN),
            200: {"content": {"*/*": {"schema": BINARY}}, "description": "The result"},
        },
        openapi_extra={"requestBody": {"required": True, "content": BODY}},
    )
    async def infer(name: str, request: Request) -> Response:
        """Run a workflow, and answer with the bytes of its first result. The job is cancelled when
        the caller leaves."""
        arguments = await arguments_of(request)
        job = await run_in_threadpool(submitted, name, arguments, request.state.request_id)
        (ended,) = await service.ended_for([job.id], request)
        require_success(ended)
        if not ended.artifacts:
            raise ApiError("empty_output", f"job {job.id} made nothing")
        content = await run_in_threadpool(service.result, ended, 0)
        return Response(content, media_type=ended.artifacts[0].content_type)

    return router


async def arguments_of(request: Request) -> dict[str, Any]:
    """The arguments that a request means, an image as its bytes. Raises ApiError."""
    body = await request.body()
    if body.startswith(_IMAGES):
        return {"image": body}
    require_content_type(request, "application/json")
    try:
        given = Inference.model_validate(await request.json())
    except ValidationError as error:
        raise of_model(error) from None
    if (image := _decoded(given.inputs)) is None:
        return {"prompt": given.inputs} | given.arguments()
    return {"image": image} | given.arguments()


def _decoded(text: str) -> bytes | None:
    """The image in base64 that a text is."""
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:
        return None
    return content if content.startswith(_IMAGES) else None
