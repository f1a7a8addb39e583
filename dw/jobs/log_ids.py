"""What the lines of a log and the spans of a trace are found by, for the thread or task at work."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, or whose job is being run."""

job_id: ContextVar[str] = ContextVar("job_id", default="")

workflow: ContextVar[str] = ContextVar("workflow", default="")
"""By the name under which it is served."""

run_id: ContextVar[str] = ContextVar("run_id", default="")
"""The number of the run, as its events and its folder have it."""

FIELDS: Mapping[str, ContextVar[str]] = {
    each.name: each for each in (request_id, job_id, workflow, run_id)
}
"""What a line of a log has, by the names of its fields."""

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""Of the span around, as W3C Trace Context writes it; empty where nothing is traced."""
