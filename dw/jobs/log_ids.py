"""What the lines of a log and the spans of a trace are found by, for the thread or task at work."""

from __future__ import annotations

from contextvars import ContextVar

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Of the request that is being answered, or whose job is being run."""

job_id: ContextVar[str] = ContextVar("job_id", default="")

traceparent: ContextVar[str] = ContextVar("traceparent", default="")
"""Of the span around, as W3C Trace Context writes it; empty where nothing is traced."""
