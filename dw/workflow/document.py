"""A document: what a workflow file says, checked, and independent of the arguments of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.errors import UsageError, WorkflowError, did_you_mean
from dw.types import Permissions
from dw.workflow.checks.all import examine
from dw.workflow.checks.partial import sound_part
from dw.workflow.format.model import Workflow
from dw.workflow.json_path import JsonPath, locate
from dw.workflow.jsonc import JsonSource
from dw.workflow.problems import Diagnostic, Finding, Severity
from dw.workflow.references import variable_at
from dw.workflow.substitution import filled, substitute
from dw.workflow.variables import convert

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Document:
    """Made by `dw.workflow.loading`, which finds the errors; it never changes. What cannot go on
    with errors says so; the rest holds for any JSON object."""

    path: Path
    source: JsonSource = field(repr=False)
    warnings: tuple[Diagnostic, ...]
    children: Mapping[str, Document]  # sub-workflows, by the `path` of their step
    uses: Mapping[JsonPath, str] = field(repr=False)  # where variables stand, and their names
    permissions: Permissions
    constants: Mapping[str, Any] = field(repr=False)
    """Each `constant:NAME` in the file whose value is known, and that value."""

    @property
    def text(self) -> str:
        return self.source.text

    @property
    def data(self) -> dict[str, Any]:
        """What the file says, as it says it. Not to be changed."""
        data: dict[str, Any] = self.source.data
        return data

    @property
    def id(self) -> str:
        identifier: str = self.data["id"]
        return identifier

    @property
    def description(self) -> str | None:
        description: str | None = substitute(self.data.get("description"), self.variables)
        return description

    @property
    def variables(self) -> dict[str, Any]:
        """Name to default; the default's type is the type, null leaves it open."""
        declared = self.data.get("variables")
        if not isinstance(declared, dict):
            return {}
        defaults: dict[str, Any] = substitute(declared, {}, self.constants)
        return defaults

    @property
    def has_arguments(self) -> bool:
        """Whether it can be said which arguments it takes: its head has the right shape."""
        declared = self.data.get("variables", {})
        return isinstance(self.data.get("id"), str) and isinstance(declared, dict)

    @property
    def seed(self) -> int | None:
        """The workflow's default seed; it may be a variable's."""
        seed: int | None = substitute(self.data.get("seed"), self.variables)
        return seed

    def bind(self, arguments: Mapping[str, Any] = _NOTHING) -> Workflow:
        """The workflow with these values for its variables, and the defaults for the others.

        Raises UsageError for a name that is not declared or a value that is not of its type, and
        WorkflowError when the workflow does not hold together with these values.
        """
        workflow, problems = self.examined(arguments)
        refuse(self.path, problems)
        assert workflow is not None  # else there are errors
        return workflow

    def examined(
        self, arguments: Mapping[str, Any] = _NOTHING
    ) -> tuple[Workflow | None, tuple[Diagnostic, ...]]:
        """The workflow with these values, if its shape is right, and what is wrong with it.
        Raises UsageError."""
        trust = self.permissions.trust
        workflow, findings = examine(self.filled(arguments), self.children, trust=trust)
        return workflow, tuple(map(self.place, findings))

    def sound_part(self, arguments: Mapping[str, Any] = _NOTHING) -> Workflow:
        """As far as it holds together: what can be judged in a workflow that is wrong elsewhere."""
        return sound_part(self.filled(arguments))

    def filled(self, arguments: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
        """A copy of `data` with the values in the places of the variables. Raises UsageError."""
        given = {name: self.convert(name, value) for name, value in arguments.items()}
        values = {**self.variables, **given}
        return filled(self.data, values, constants=self.constants, uses=self.uses)

    def convert(self, name: str, value: Any) -> Any:
        """`value`, text or JSON, as the type that variable `name` declares. Raises UsageError."""
        if name not in self.variables:
            known = ", ".join(self.variables)
            raise UsageError(
                f"{self.id} has no argument {name!r}"
                f"{did_you_mean(name, self.variables, by_word=True)}",
                hints=[f"its arguments are {known}" if known else "it has no arguments"],
            )
        return convert(name, self.variables[name], value)

    def problem_at(
        self, json_path: JsonPath, message: str, severity: Severity = "error", key: bool = False
    ) -> Diagnostic:
        """A problem with the value at a path in the file or in the models, or with its key.

        When an argument gave the value, the message names it.
        """
        return self.place(Finding(json_path, message, severity, at_key=key))

    def place(self, finding: Finding) -> Diagnostic:
        name = self.variable_at(finding.path)
        return place(blame(finding, name) if name else finding, self.source, self.path)

    def variable_at(self, path: JsonPath) -> str | None:
        """The variable that gave the value at `path`, or a value around it."""
        return variable_at(locate(self.data, path), self.uses)


def blame(finding: Finding, name: str) -> Finding:
    """The finding with the argument named that its value came from."""
    return replace(finding, message=f"{finding.message} (argument {name!r})")


def place(finding: Finding, source: JsonSource, path: Path) -> Diagnostic:
    """The finding at its line and column; what is not in the file is placed at its parent."""
    line, column = source.position(locate(source.data, finding.path), at_key=finding.at_key)
    return Diagnostic(str(path), line, column, finding.message, finding.severity)


def together(*stages: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """The problems that the stages of validation found, each once, in the order of their places.

    Where one stage found an error, the later ones, which see a consequence of it, are not heard.
    """
    told: dict[Diagnostic, None] = {}
    wrong: set[str] = set()
    for stage in stages:
        heard = [each for each in stage if each.place not in wrong]
        told.update(dict.fromkeys(heard))
        wrong.update(each.place for each in heard if each.severity == "error")
    return tuple(sorted(told, key=lambda each: (each.path, each.line, each.column, each.message)))


def refuse(path: Path, problems: Iterable[Diagnostic]) -> None:
    """Raises WorkflowError when there are errors among the problems."""
    if errors := [each for each in problems if each.severity == "error"]:
        raise invalid(path, errors)


def invalid(path: Path, problems: Iterable[Diagnostic]) -> WorkflowError:
    """One error for all problems of a file; the message of a single problem is its own."""
    ordered = together(problems)
    if len(ordered) == 1:
        only = ordered[0]
        where = f"{only.path}:{only.line}:{only.column}"
        return WorkflowError(only.message, problems=ordered, where=where)
    return WorkflowError(f"{len(ordered)} problems", problems=ordered, where=str(path))
