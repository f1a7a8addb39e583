"""API errors: what a request is refused with, and how each kind of error of dw becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from dw.error_types import error_type_of
from dw.errors import DwError
from dw.jobs.job import JobError
from dw.jobs.job_error import job_error
from dw.jobs.runpod_output import failure
from dw.workflow.inputs import InvalidInputs

RETRY_AFTER_S = 5
"""Told with a 429 or 503. The openai client does not try again at all when it is above 120."""


class ApiError(Exception):
    """`param` names the field at fault; `details` holds every problem when there are several."""

    def __init__(
        self,
        error_type: str,
        message: str,
        *,
        param: str | None = None,
        details: Sequence[dict[str, Any]] = (),
        hints: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.type = error_type_of(error_type)
        self.message = message
        self.param = param
        self.details = list(details)
        self.hints = list(hints)
        self.extra_headers = dict(headers or {})

    @classmethod
    def of(cls, error: DwError) -> ApiError:
        found = job_error(error)
        problems = error.problems if isinstance(error, InvalidInputs) else ()
        details = [
            {"error_type": each.error_type, "message": each.message, "param": each.name}
            for each in problems
        ]
        # Remedies are spelled by programs at a terminal; nobody behind HTTP can follow them.
        hints = [hint for hint in error.hints if isinstance(hint, str)]
        return cls(found.error_type, found.message, param=found.param, details=details, hints=hints)

    @classmethod
    def of_job(cls, error: JobError) -> ApiError:
        return cls(error.error_type, error.message, param=error.param)

    @property
    def headers(self) -> dict[str, str]:
        """What clients act upon: when to try again, or that it is in vain (they do after a 408, a
        409, a 429 and every 5xx, unless they are told), and whether the connection goes on."""
        found = {} if self.type.is_retryable else {"x-should-retry": "false"}
        if self.type.status in (429, 503):
            found["retry-after"] = str(RETRY_AFTER_S)
        if self.type.status == 401:
            found["www-authenticate"] = "Bearer"
        if self.type.status in (408, 413):  # what is still to come of the body is not waited for
            found["connection"] = "close"
        return found | self.extra_headers

    def to_openai(self) -> dict[str, Any]:
        """In the shape that OpenAI's clients read."""
        kind = "invalid_request_error" if self.type.status < 500 else "server_error"
        # To them a workflow is a model.
        code = "model_not_found" if self.type.name == "workflow_not_found" else self.type.name
        param = "model" if code == "model_not_found" else self.param
        return {"error": {"message": self.message, "type": kind, "param": param, "code": code}}

    def to_runpod(self) -> dict[str, Any]:
        """In the shape of RunPod's handlers."""
        return failure(JobError(self.type.name, self.message))

    def to_huggingface(self, request_id: str) -> dict[str, Any]:
        """In the shape that Hugging Face's client reads: it shows `error` as text."""
        return {
            "error": self.message,
            "error_type": self.type.name,
            "param": self.param,
            "request_id": request_id,
        }

    def to_problem(self, request_id: str) -> dict[str, Any]:
        """As the problem details of RFC 9457, which Replicate's client reads."""
        return {
            "type": self.type.name,
            "title": self.type.name.replace("_", " "),
            "status": self.type.status,
            "detail": self.message,
            "instance": request_id,
        }

    def to_json(self, request_id: str) -> dict[str, Any]:
        return {
            "error": {
                "error_type": self.type.name,
                "message": self.message,
                "param": self.param,
                "retryable": self.type.is_retryable,
                "request_id": request_id,
                "hints": self.hints,
                "details": self.details,
            }
        }


def of_model(error: ValidationError) -> ApiError:
    """The error for a body that does not fit its model."""
    return of_validation([{**each, "loc": ("body", *each["loc"])} for each in error.errors()])


def of_validation(problems: Sequence[Mapping[str, Any]]) -> ApiError:
    """The error for a body, a header or a parameter that does not fit its declaration."""
    details = [_detail(each) for each in problems]
    first = details[0]
    return ApiError(first["error_type"], first["message"], param=first["param"], details=details)


def _detail(problem: Mapping[str, Any]) -> dict[str, Any]:
    """One of the problems that pydantic found."""
    kind, place = problem["type"], ".".join(map(str, problem["loc"][1:]))
    if kind == "missing" and not place:
        return {"error_type": "invalid_request", "message": "the body is missing", "param": None}
    if kind == "missing":
        name, message = "missing_field", f"Missing required field: {place!r}"
    elif kind == "extra_forbidden":
        name, message = "unknown_field", f"unknown field {place!r}"
    else:
        name = "invalid_type" if kind.endswith("_type") else "invalid_value"
        message = f"{place or 'the body'}: {problem['msg']}"
    return {"error_type": name, "message": message, "param": place or None}


OF_JOB = (
    *("missing_field", "invalid_type", "invalid_value", "unknown_field", "workflow_invalid"),
    *("workflow_not_found", "queue_full", "shutting_down"),
)
"""The error types of a route that accepts a job."""

OF_RUN = (
    *("cancelled", "execution_error", "out_of_memory", "worker_crashed", "poison_job"),
    *("empty_output", "upload_failed", "initialization_error", "timed_out"),
)
"""Those of a route that waits for a job's end, besides."""

OF_BODY = (
    *("missing_field", "invalid_request", "request_timeout", "payload_too_large"),
    "unsupported_media_type",
)
"""Those of a route that has a body."""


def errors(*names: str) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may answer with these error types; every route has some
    more, by dw/server/openapi.py."""
    found: dict[int | str, dict[str, Any]] = {}
    for name in names:
        told = found.setdefault(error_type_of(name).status, {"description": ""})
        told["description"] += f"{', ' if told['description'] else ''}`{name}`"
    return found
