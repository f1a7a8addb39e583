"""What is wrong in a workflow: a `Finding` in its data, a `Diagnostic` at its place in the file."""

from __future__ import annotations

from dataclasses import dataclass

from dw.types import Diagnostic, Severity
from dw.workflow.json_path import JsonPath

__all__ = ["Diagnostic", "Finding", "Severity"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with the value at `path`, or with its key when `at_key`."""

    path: JsonPath
    message: str
    severity: Severity = "error"
    at_key: bool = False
