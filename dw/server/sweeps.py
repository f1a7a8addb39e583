"""Sweeps: one job for each combination of values, seen and cancelled together.

A sweep is its jobs: their idempotency keys are its id and their number, so that nothing else has to
be kept. Each job is a call of its own, and the same seed gives the same image as alone.
"""

from __future__ import annotations

import csv
import io
import secrets
from collections import Counter
from collections.abc import Iterator
from itertools import product
from math import prod
from pathlib import Path
from threading import Lock
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from fastapi import Path as InPath
from pydantic import BaseModel, ConfigDict, Field

from dw.contact_sheet import contact_sheet
from dw.errors import DwError
from dw.jobs.captions import sheet_cells
from dw.jobs.job import Job, JobState
from dw.jobs.request import draw_seed
from dw.jobs.sweep import MOST, swept
from dw.seeds import MAX_SEED
from dw.server.answers import SweepAnswer
from dw.server.api_error import OF_JOB, ApiError, errors
from dw.server.native import job_json
from dw.server.service import Service
from dw.server.strict import StrictRoute

SweepId = Annotated[str, InPath(pattern="^sweep_[0-9a-f]{24}$")]


class SweepBody(BaseModel):
    """Jobs for every combination of values; those of the last name vary fastest."""

    model_config = ConfigDict(extra="forbid", strict=True)

    workflow: str = Field(description="its name, as GET /v1/workflows lists it")
    values: dict[str, Annotated[list[Any], Field(min_length=1, max_length=MOST)]] = Field(
        min_length=1, description="lists of values of the workflow's variables, by name"
    )
    arguments: dict[str, Any] = Field(default={}, description="values that all jobs share")
    seed: int | None = Field(
        default=None, ge=0, le=MAX_SEED, description="of all jobs; without one it is drawn, once"
    )
    priority: int = Field(default=0, ge=-100, le=100, description="higher ones are run first")


def sweeps_api(service: Service) -> APIRouter:
    router = APIRouter(prefix="/v1/sweeps", route_class=StrictRoute)

    one_sheet = Lock()  # the sheet of MOST images takes hundreds of MB

    def jobs_of(sweep_id: str) -> list[Job]:
        if not (jobs := service.queue.store.keyed(f"{sweep_id}/")):
            raise ApiError("not_found", f"there is no sweep {sweep_id!r}")
        return jobs

    def cancel(jobs: list[Job]) -> None:
        for job in reversed(jobs):  # or a worker that becomes free would take the next one
            if not job.state.is_final:
                service.queue.cancel(job.id)

    @router.post("", status_code=202, responses=errors(*OF_JOB))
    def create_sweep(body: SweepBody, request: Request) -> SweepAnswer:
        """Accept the jobs of a sweep, all or none."""
        if (count := prod(map(len, body.values.values()))) > MOST:
            message = f"values: a sweep has at most {MOST} jobs, this one has {count}"
            raise ApiError("invalid_value", message, param="values")
        if twice := next((name for name in body.values if name in body.arguments), None):
            message = f"{twice!r} is among the arguments and among the values"
            raise ApiError("invalid_value", message, param="values")
        sweep_id = f"sweep_{secrets.token_hex(12)}"
        seed = draw_seed() if body.seed is None else body.seed
        jobs: list[Job] = []
        try:
            for number, values in enumerate(product(*body.values.values())):
                given = body.arguments | dict(zip(body.values, values, strict=True))
                job, _ = service.submit(
                    body.workflow,
                    given,
                    request_id=request.state.request_id,
                    seed=None if "seed" in given else seed,
                    priority=body.priority,
                    key=f"{sweep_id}/{number}",
                )
                jobs.append(job)
        except DwError:
            cancel(jobs)
            raise
        return sweep_json(service, sweep_id, jobs)

    @router.get("/{sweep_id}", responses=errors("not_found"))
    def show_sweep(sweep_id: SweepId) -> SweepAnswer:
        """How far a sweep is, and its jobs with their results."""
        return sweep_json(service, sweep_id, jobs_of(sweep_id))

    @router.get(
        "/{sweep_id}/results.csv",
        response_class=Response,
        responses={200: {"content": {"text/csv": {}}}, **errors("not_found")},
    )
    def sweep_results(sweep_id: SweepId) -> Response:
        """A row for each job: its id, state and seed, the values that differ, its results."""
        return Response(results_csv(service, jobs_of(sweep_id)), media_type="text/csv")

    @router.get(
        "/{sweep_id}/sheet.png",
        response_class=Response,
        responses={
            200: {"content": {"image/png": {"schema": {"type": "string", "format": "binary"}}}},
            **errors("not_found"),
        },
    )
    def sweep_sheet(sweep_id: SweepId) -> Response:
        """The contact sheet: the images that are there so far, each with its job's number and what
        tells it from the others, or in a table by two names that vary."""
        with one_sheet:
            return Response(sheet(jobs_of(sweep_id)), media_type="image/png")

    @router.post("/{sweep_id}/cancel", responses=errors("not_found"))
    def cancel_sweep(sweep_id: SweepId) -> SweepAnswer:
        """Cancel the jobs that have not ended."""
        cancel(jobs_of(sweep_id))
        return sweep_json(service, sweep_id, jobs_of(sweep_id))

    return router


def sweep_json(service: Service, sweep_id: str, jobs: list[Job]) -> SweepAnswer:
    counts = Counter(job.state for job in jobs)
    return {
        "id": sweep_id,
        "workflow": jobs[0].request.workflow,
        "total": len(jobs),
        "counts": dict(counts),
        "is_over": all(job.state.is_final for job in jobs),
        "jobs": [job_json(service, job) for job in jobs],
    }


def results_csv(service: Service, jobs: list[Job]) -> str:
    names = swept([job.request.arguments for job in jobs])
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(["job", "state", "seed", *names, "outputs", "error"])
    for told, job in ((job_json(service, job), job) for job in jobs):
        values = [_cell(job.request.arguments.get(name)) for name in names]
        outputs = " ".join(output["url"] for output in told["outputs"])
        error = job.error.message if job.error else ""
        rows.writerow([job.id, job.state, told["seed"], *values, outputs, _cell(error)])
    return text.getvalue()


def sheet(jobs: list[Job]) -> bytes:
    """The contact sheet of a sweep's images as a PNG. Raises ApiError where there is none, and
    RunFailed where one cannot be read."""
    images = {
        index: list(filter(Path.is_file, _images(job)))
        for index, job in enumerate(jobs)
        if job.state is JobState.SUCCEEDED
    }
    numbers = {index: str(index + 1) for index in images}
    cells = sheet_cells([_given(job) for job in jobs], images, numbers)
    if not cells:
        raise ApiError("not_found", "no image of this sweep is there")
    data = io.BytesIO()
    contact_sheet(cells).save(data, "PNG")
    return data.getvalue()


def _images(job: Job) -> Iterator[Path]:
    return (Path(a.path) for a in job.artifacts if a.content_type.startswith("image/"))


def _given(job: Job) -> dict[str, Any]:
    """The arguments of a job with its seed, which differs where seeds are swept."""
    return {**job.request.arguments, "seed": job.request.seed}


def _cell(value: Any) -> Any:
    """What a spreadsheet does not take for a formula."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if is_formula else value
