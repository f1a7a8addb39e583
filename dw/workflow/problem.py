"""What is wrong in a workflow: a `Finding` in its data, a `Problem` at its place in the file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from dw.workflow.tree import JsonPath

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """A problem with the value at `path`, or with its key when `at_key`."""

    path: JsonPath
    message: str
    severity: Severity = "error"
    at_key: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` and `column` count from 1; the column counts characters."""

    path: str
    line: int
    column: int
    message: str
    severity: Severity = "error"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}:{self.column}: {self.severity}: {self.message}"
