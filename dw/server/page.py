"""The page: workflows, a form made from a workflow's schema, and what becomes of a job.

It is plain HTML that works without scripts; a script shows progress where there is one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from jinja2 import Environment, PackageLoader

from dw.server.api_error import ApiError
from dw.server.health import workers
from dw.server.native import job_json
from dw.server.service import Service
from dw.workflow.inputs import InputProblem, InvalidInputs, arguments_schema

SHOWN_JOBS = 20
LONG_TEXT = 200  # characters of a value, from which on its field has several lines
STATIC = Path(__file__).parent / "static"
SECURITY = {
    "content-security-policy": "default-src 'self'; img-src * data:; media-src *; "
    "frame-ancestors 'none'; form-action 'self'",
    "referrer-policy": "same-origin",
}
"""Headers: nothing but our own script and style; results may lie in a storage elsewhere. Without
any referrer a browser sends its forms from the origin `null`, which is refused."""


STEPS = {"integer": "1", "number": "any"}
"""Of the numbers that a browser takes for each type."""


@dataclass(frozen=True, slots=True)
class FormField:
    """`step` is empty for what is no number; `problem` is what is wrong with the value."""

    name: str
    title: str
    value: str
    description: str
    hint: str
    choices: tuple[Any, ...]
    max_length: int | None
    is_required: bool
    is_long: bool
    step: str
    minimum: float | None
    maximum: float | None
    problem: str


def page(service: Service) -> APIRouter:
    router = APIRouter(include_in_schema=False)
    templates = Environment(
        loader=PackageLoader("dw.server"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    router.mount("/static", StaticFiles(directory=STATIC))

    def shown(template: str, status: int = 200, **values: Any) -> Response:
        html = templates.get_template(template).render(**values)
        return HTMLResponse(html, status, SECURITY)

    @router.get("/")
    def index() -> Response:
        return shown(
            "index.html",
            names=service.catalog.names(),
            workers=workers(service),
            jobs=service.queue.store.jobs(limit=SHOWN_JOBS),
        )

    def form(
        name: str, given: Mapping[str, str], problems: Sequence[InputProblem] = ()
    ) -> Response:
        schema = arguments_schema(service.document(name))
        return shown(
            "workflow.html",
            400 if problems else 200,
            name=name,
            schema=schema,
            fields=[
                form_field(n, s, schema, given, problems) for n, s in schema["properties"].items()
            ],
            problems=problems,
        )

    @router.get("/workflows/{name}")
    def workflow(name: str, request: Request) -> Response:
        return form(name, request.query_params)

    @router.post("/workflows/{name}")
    async def run(name: str, request: Request) -> Response:
        require_same_site(request)
        async with request.form() as sent:
            given = {n: str(value) for n, value in sent.items()}
        filled = {name: value for name, value in given.items() if value.strip()}
        try:
            seed = int(filled.pop("seed")) if filled.get("seed", "").isdecimal() else None
            job, _ = service.submit(
                name, filled, seed=seed, previews=True, request_id=request.state.request_id
            )
        except InvalidInputs as error:
            return form(name, given, error.problems)
        return RedirectResponse(f"/jobs/{job.id}", 303)

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> Response:
        found = service.queue.store.get(job_id)
        told = job_json(service, found)
        return shown("job.html", job=found, outputs=told["outputs"], seed=told["seed"])

    @router.post("/jobs/{job_id}/cancel")
    def cancel(job_id: str, request: Request) -> Response:
        require_same_site(request)
        service.queue.cancel(job_id)
        return RedirectResponse(f"/jobs/{job_id}", 303)

    return router


def require_same_site(request: Request) -> None:
    """A form of another website may not act for the user. Raises ApiError.

    Browsers tell where a form was; what is no browser tells nothing.
    """
    origin = request.headers.get("origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("host"):
        raise ApiError("invalid_request", f"this form belongs to another website, {origin}")


def form_field(
    name: str,
    limits: Mapping[str, Any],
    schema: Mapping[str, Any],
    given: Mapping[str, str],
    problems: Sequence[InputProblem],
) -> FormField:
    default = limits.get("default", "")
    value = given.get(name, "" if isinstance(default, dict | list) else str(default))
    examples = limits.get("examples") or [""]
    most = limits.get("maxLength")
    is_text = limits.get("type") == "string"
    return FormField(
        name=name,
        title=limits.get("title") or name.replace("_", " ").capitalize(),
        value=value,
        description=limits.get("description", ""),
        hint="drawn if left empty" if name == "seed" else str(examples[0]),
        choices=tuple(limits.get("enum", ())),
        max_length=most,
        is_required=name in schema["required"],
        step=STEPS.get(limits.get("type", ""), ""),
        minimum=limits.get("minimum"),
        maximum=limits.get("maximum"),
        problem=next((each.message for each in problems if each.name == name), ""),
        is_long=is_text and (name == "prompt" or (most or 0) > LONG_TEXT or len(value) > LONG_TEXT),
    )
