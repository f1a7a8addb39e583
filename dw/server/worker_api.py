"""The worker API: what a shell in front of this server needs beside jobs.

A command is answered by its events, as the worker sends them. A run is a job like every other; its
workflow comes as text, which needs the server's leave and is never trusted.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, ConfigDict, Field

from dw.codec import from_json, to_json
from dw.events import Check, Clear, Command, Report, Run
from dw.jobs.pool import Slot
from dw.server.answers import Killed, Stopping, Where, WorkerAnswer, WorkerList
from dw.server.api_error import OF_JOB, ApiError, errors
from dw.server.limits import LONGEST_RUN_S
from dw.server.service import Service
from dw.server.streams import Stream
from dw.server.strict import StrictRoute

JOB_HEADER = "x-job-id"
LINES = "application/x-ndjson"


class CommandBody(BaseModel):
    """A command, as `--json` spells messages. `timeout_s` is the deadline of a run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    command: dict[str, Any]
    timeout_s: float | None = Field(default=None, gt=0, le=LONGEST_RUN_S)


def worker_api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1", route_class=StrictRoute)

    @router.get("/workers")
    def list_workers() -> WorkerList:
        """The state of each worker, and the job that it has."""
        return {"workers": [_status(service, slot) for slot in service.queue.slots]}

    @router.get("/workers/{name}/where")
    def where(name: str) -> Where:
        """What a worker is doing."""
        return {"summary": _slot(service, name).client.where()}

    @router.post("/workers/{name}/stop")
    def stop(name: str) -> WorkerAnswer:
        """Shut a worker down; its models are lost. The next job starts another."""
        slot = _slot(service, name)
        slot.client.stop()
        return _status(service, slot)

    @router.post("/jobs/{job_id}/stop")
    def stop_job(job_id: str) -> Stopping:
        """End the denoising of a running job early; its results are kept."""
        return {"stopping": service.queue.stop(job_id)}

    @router.post("/jobs/{job_id}/kill")
    def kill_job(job_id: str) -> Killed:
        """Kill the worker that runs this job; its models are lost."""
        return {"killed": service.queue.kill(job_id)}

    @router.post(
        "/commands",
        response_class=Response,
        responses={
            **errors(*OF_JOB, "not_allowed"),
            200: {
                "description": "Events, one on each line",
                "content": {LINES: {"schema": {"type": "string"}}},
            },
        },
    )
    async def command(body: CommandBody, request: Request) -> Stream:
        """Carry out a command of a shell: Run, Check, Report or Clear. Its events are streamed; a
        run is cancelled when its caller leaves."""
        try:
            wanted = from_json(body.command)
        except ValueError as error:
            raise ApiError("invalid_value", f"command: {error}", param="command") from None
        match wanted:
            case Run():
                job, _ = await run_in_threadpool(
                    service.submit_text,
                    wanted,
                    request_id=request.state.request_id,
                    timeout_s=body.timeout_s,
                )
                return Stream(
                    _job_events(service, job.id),
                    on_end=lambda: service.queue.cancel(job.id),  # of no effect on one that ended
                    media_type=LINES,
                    headers={JOB_HEADER: job.id},
                )
            case Check() | Report() | Clear():
                return Stream(_command_events(service.queue.slots[0], wanted), media_type=LINES)
            case _:
                message = f"command: {type(wanted).__name__} is not a command for a server"
                raise ApiError("invalid_value", message, param="command")

    return router


async def _job_events(service: Service, job_id: str) -> AsyncGenerator[bytes, None]:
    async for _, event in service.events(job_id):
        yield json.dumps(event).encode() + b"\n"


async def _command_events(slot: Slot, command: Command) -> AsyncGenerator[bytes, None]:
    def answered() -> list[dict[str, Any]]:
        return [to_json(event) for event in slot.client.submit(command)]  # type: ignore[arg-type]

    for event in await run_in_threadpool(answered):
        yield json.dumps(event, default=str).encode() + b"\n"


def _slot(service: Service, name: str) -> Slot:
    for slot in service.queue.slots:
        if slot.name == name:
            return slot
    names = ", ".join(slot.name for slot in service.queue.slots)
    raise ApiError("not_found", f"there is no worker {name!r}; they are {names}")


def _status(service: Service, slot: Slot) -> WorkerAnswer:
    job = service.queue.job_on(slot)
    return {
        "name": slot.name,
        "job": job,
        "status": slot.client.status(),
        "cold_start": service.queue.cold_starts[slot.name].stages,
    }
