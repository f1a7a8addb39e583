"""Diagnostics: found at a JSON path of a workflow's data, then located in its file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from dw.errors import WorkflowError
from dw.types import Diagnostic, Severity
from dw.workflow.json_path import JsonPath, locate

if TYPE_CHECKING:
    from dw.workflow.jsonc import JsonSource

__all__ = [
    "DataDiagnostic",
    "Diagnostic",
    "Diagnostics",
    "Severity",
    "merge_stages",
    "raise_on_errors",
]


@dataclass(frozen=True, slots=True)
class DataDiagnostic:
    """What is wrong with the value at `path`, or with its key when `at_key`. Checks yield these;
    `locate` gives the `Diagnostic` that leaves the package, so that none leaves without a line."""

    path: JsonPath
    message: str
    severity: Severity = "error"
    at_key: bool = False

    def below(self, path: JsonPath) -> DataDiagnostic:
        """The same, from a check whose paths begin at `path`."""
        return replace(self, path=(*path, *self.path))

    def of_argument(self, name: str) -> DataDiagnostic:
        """The same, naming the argument that gave the value."""
        return replace(self, message=f"{self.message} (argument {name!r})")

    def locate(self, source: JsonSource, file: Path) -> Diagnostic:
        """At its line and column; what is not in the file is located at its parent."""
        line, column = source.position(locate(source.data, self.path), at_key=self.at_key)
        return Diagnostic(str(file), line, column, self.message, self.severity)


Diagnostics = Iterator[DataDiagnostic]
"""What a check yields."""


def merge_stages(*stages: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The diagnostics of all stages of validation, each once, sorted by position.

    At a position where one stage found an error, those of later stages are left out: they would be
    consequences of it.
    """
    merged: dict[Diagnostic, None] = {}
    wrong: set[str] = set()
    for stage in stages:
        kept = [each for each in stage if each.place not in wrong]
        merged.update(dict.fromkeys(kept))
        wrong.update(each.place for each in kept if each.severity == "error")
    return tuple(sorted(merged, key=lambda each: (each.path, each.line, each.column, each.message)))


def raise_on_errors(path: Path, diagnostics: Iterable[Diagnostic]) -> None:
    """Raises one WorkflowError for all errors among them; that of a single one has its message."""
    errors = merge_stages(each for each in diagnostics if each.severity == "error")
    if len(errors) == 1:
        raise WorkflowError(errors[0].message, problems=errors, where=errors[0].place)
    if errors:
        raise WorkflowError(f"{len(errors)} problems", problems=errors, where=str(path))
