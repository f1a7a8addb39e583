"""Error types: the names of what can go wrong, as services answer with them.

One table for every service: the name, the HTTP status, whether another try may succeed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dw.errors import Kind


@dataclass(frozen=True, slots=True)
class ErrorType:
    """`is_retryable`: the same request may succeed when it is made again."""

    name: str
    status: int
    is_retryable: bool = False


ERROR_TYPES: Mapping[str, ErrorType] = {
    each.name: each
    for each in (
        # The request.
        ErrorType("missing_field", 400),
        ErrorType("unknown_field", 400),
        ErrorType("invalid_type", 400),
        ErrorType("invalid_value", 400),
        ErrorType("invalid_request", 400),
        ErrorType("workflow_invalid", 400),
        ErrorType("invalid_api_key", 401),
        ErrorType("not_allowed", 403),
        ErrorType("not_found", 404),
        ErrorType("workflow_not_found", 404),
        ErrorType("job_not_found", 404),
        ErrorType("method_not_allowed", 405),
        ErrorType("request_timeout", 408, is_retryable=True),
        ErrorType("idempotency_conflict", 409),
        ErrorType("not_retryable", 409),
        ErrorType("payload_too_large", 413),
        ErrorType("unsupported_media_type", 415),
        ErrorType("queue_full", 429, is_retryable=True),
        ErrorType("too_many_requests", 429, is_retryable=True),
        # The job.
        ErrorType("cancelled", 499),
        ErrorType("execution_error", 500),
        ErrorType("out_of_memory", 500),
        ErrorType("worker_crashed", 500),
        ErrorType("poison_job", 500),
        ErrorType("internal_error", 500),
        ErrorType("empty_output", 502),
        ErrorType("result_too_large", 502),
        ErrorType("upload_failed", 502, is_retryable=True),
        ErrorType("timed_out", 504),
        # The server.
        ErrorType("initialization_error", 503),
        ErrorType("starting", 503, is_retryable=True),
        ErrorType("shutting_down", 503, is_retryable=True),
    )
}

OF_KIND: Mapping[Kind, str] = {
    "usage": "invalid_value",
    "workflow": "workflow_invalid",
    "run": "execution_error",
    "resources": "out_of_memory",
    "timeout": "timed_out",
    "worker": "worker_crashed",
    "interrupted": "cancelled",
    "bug": "internal_error",
}
"""The error type of each kind of error in dw/errors.py."""

OF_FIELDS = ("_empty", "_too_short", "_too_long", "_invalid_format")
"""What follows the name of a field in the error types of its values, as in `prompt_too_long`."""


def error_type_of(name: str) -> ErrorType:
    """The row of an error type. Raises KeyError."""
    return ErrorType(name, 400) if name.endswith(OF_FIELDS) else ERROR_TYPES[name]
