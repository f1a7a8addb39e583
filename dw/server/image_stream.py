"""Streams of images as OpenAI sends them: partial images while one is made, then the image."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

from fastapi import Request
from fastapi.sse import format_sse_event

from dw.errors import DwError
from dw.jobs.job import Job
from dw.server.api_error import ApiError
from dw.server.native import require_success
from dw.server.service import Service, left

Kind = Literal["image_generation", "image_edit"]

_USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""Its clients read it; nothing is counted in tokens here."""


async def streamed(
    service: Service, job: Job, kind: Kind, request: Request, *, size: str
) -> AsyncGenerator[bytes, None]:
    """The server-sent events of a job that has only this caller, who may leave: then it is
    cancelled. At most as many partial images as were asked for; a run may be over before.

    `size`: of the image that was asked for.
    """
    leaving = asyncio.create_task(_cancel_when_left(service, job, request))
    partial = 0
    sizes: list[str] = []  # of its results
    try:
        async for _, event in service.events(job.id):
            if event["event"] == "Finished":
                sizes = [_size(output) for output in event["outputs"]]
            elif event["event"] == "Preview" and partial < job.request.partial_images:
                image = {"partial_image_index": partial, "b64_json": event["image"]}
                yield _event(f"{kind}.partial_image", event["time"], size, "png", image)
                partial += 1
        for completed in _completed(service, service.queue.store.get(job.id), kind, sizes):
            yield completed
    except (ApiError, DwError) as error:
        told = error if isinstance(error, ApiError) else ApiError.of(error)
        yield format_sse_event(data_str=json.dumps(told.to_openai()), event="error")
    finally:  # of no effect when it has ended
        leaving.cancel()
        service.queue.cancel(job.id)


def _completed(service: Service, job: Job, kind: Kind, sizes: list[str]) -> list[bytes]:
    """An event for each image of a job. Raises ApiError and ResultGone where there is none."""
    require_success(job)
    made = [
        (number, artifact.content_type.removeprefix("image/"))
        for number, artifact in enumerate(job.artifacts)
        if artifact.content_type.startswith("image/")
    ]
    if not made:
        raise ApiError("empty_output", f"job {job.id} made no image")
    found = []
    for number, form in made:
        content = base64.b64encode(service.result(job, number)).decode()
        image = {"b64_json": content, "usage": _USAGE}
        size = sizes[number] if number < len(sizes) else "auto"
        found.append(_event(f"{kind}.completed", job.ended or job.created, size, form, image))
    return found


def _event(name: str, time: float, size: str, form: str, image: Mapping[str, Any]) -> bytes:
    fields = {
        "type": name,
        "created_at": int(time),
        "size": size,
        "quality": "auto",
        "background": "auto",
        "output_format": form,
        **image,
    }
    return format_sse_event(data_str=json.dumps(fields), event=name)


def _size(output: Mapping[str, Any]) -> str:
    width, height = output.get("width"), output.get("height")
    return f"{width}x{height}" if width and height else "auto"


async def _cancel_when_left(service: Service, job: Job, request: Request) -> None:
    await left(request)
    service.queue.cancel(job.id)
