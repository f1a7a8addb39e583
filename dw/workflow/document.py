"""The document: a workflow file, validated, without the arguments of a run."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.errors import UsageError, did_you_mean
from dw.types import Permissions
from dw.workflow.checks.all import validate
from dw.workflow.checks.partial import partial_workflow
from dw.workflow.diagnostics import DataDiagnostic, Diagnostic, Severity, raise_on_errors
from dw.workflow.format.input import Input
from dw.workflow.format.model import Workflow
from dw.workflow.inputs import converted, declared_inputs
from dw.workflow.json_path import JsonPath, locate
from dw.workflow.jsonc import JsonSource
from dw.workflow.references import variable_at
from dw.workflow.substitution import extent_error, filled, substitute

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, eq=False)
class Document:
    """A JSON object with its position in the file and its sub-workflows; it may have errors.
    `dw.workflow.loading` makes it. Methods that need a valid workflow raise WorkflowError."""

    path: Path
    source: JsonSource = field(repr=False)
    warnings: tuple[Diagnostic, ...]
    children: Mapping[str, Document]  # sub-workflows, by the `path` of their step
    uses: Mapping[JsonPath, str] = field(repr=False)  # the variable at each path
    permissions: Permissions
    constants: Mapping[str, Any] = field(repr=False)
    """Each `constant:NAME` in the file whose value is known, and that value."""

    @property
    def text(self) -> str:
        return self.source.text

    def texts(self) -> dict[str, str]:
        """The text of each sub-workflow, and of theirs, by its absolute path."""
        found: dict[str, str] = {}
        for child in self.children.values():
            found |= {os.path.abspath(child.path): child.text, **child.texts()}
        return found

    @property
    def data(self) -> dict[str, Any]:
        """The file's JSON object, before variables are filled in. Do not change it."""
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

    @cached_property
    def variables(self) -> dict[str, Any]:
        """The default of each variable. Its type is the variable's type; null allows any. Do not
        change it."""
        declared = self.data.get("variables")
        if not isinstance(declared, dict):
            return {}
        defaults: dict[str, Any] = substitute(declared, {}, self.constants)
        return defaults

    @cached_property
    def inputs(self) -> Mapping[str, Input]:
        """The limits on the values of variables."""
        return declared_inputs(self.data.get("inputs"))

    @property
    def required(self) -> tuple[str, ...]:
        """The variables that a run must be given a value for."""
        names = self.data.get("required")
        listed = names if isinstance(names, list) else ()
        return tuple(name for name in listed if isinstance(name, str))

    @property
    def has_arguments(self) -> bool:
        """Whether its arguments are known: `id` and `variables` have the right types."""
        declared = self.data.get("variables", {})
        return isinstance(self.data.get("id"), str) and isinstance(declared, dict)

    @property
    def seed(self) -> int | None:
        """The workflow's default seed, which may come from a variable."""
        seed: int | None = substitute(self.data.get("seed"), self.variables)
        return seed

    def bind(self, arguments: Mapping[str, Any] = _NOTHING) -> Workflow:
        """The workflow with these values for its variables, and the defaults for the others.

        Raises UsageError for a name that is not declared or a value that is not of its type, and
        WorkflowError when the workflow is not valid with these values.
        """
        workflow, diagnostics = self.validate(arguments)
        raise_on_errors(self.path, diagnostics)
        assert workflow is not None  # else there are errors
        return workflow

    def validate(
        self, arguments: Mapping[str, Any] = _NOTHING
    ) -> tuple[Workflow | None, tuple[Diagnostic, ...]]:
        """The workflow with these values, if its shape is right, and its diagnostics. Raises
        UsageError."""
        trust = self.permissions.trust
        workflow, diagnostics = validate(
            self.filled(arguments), self.children, trust=trust, variables=self.variables
        )
        return workflow, tuple(map(self.locate, diagnostics))

    def partial(self, arguments: Mapping[str, Any] = _NOTHING) -> Workflow:
        """The workflow without the parts whose shape is wrong, so that the rest can be checked.
        Raises UsageError."""
        return partial_workflow(self.filled(arguments))

    def filled(self, arguments: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
        """A copy of `data` with the values in the places of the variables. Raises UsageError."""
        given = {name: self.convert(name, value) for name, value in arguments.items()}
        values = {**self.variables, **given}
        if message := extent_error(values, self.uses):
            raise UsageError(message)
        return filled(self.data, values, constants=self.constants, uses=self.uses)

    def convert(self, name: str, value: Any) -> Any:
        """`value`, text or JSON, as the type that variable `name` declares, within its limits.
        Raises UsageError."""
        if name not in self.variables:
            known = ", ".join(self.variables)
            raise UsageError(
                f"{self.id} has no argument {name!r}"
                f"{did_you_mean(name, self.variables, by_word=True)}",
                hints=[f"its arguments are {known}" if known else "it has no arguments"],
            )
        return converted(name, self.variables[name], value, self.inputs.get(name))

    def diagnostic_at(
        self, json_path: JsonPath, message: str, severity: Severity = "error", key: bool = False
    ) -> Diagnostic:
        """A diagnostic of the value at a path in the file or in the models, or of its key.

        When an argument gave the value, the message names it.
        """
        return self.locate(DataDiagnostic(json_path, message, severity, at_key=key))

    def locate(self, diagnostic: DataDiagnostic) -> Diagnostic:
        name = self.variable_at(diagnostic.path)
        named = diagnostic.of_argument(name) if name else diagnostic
        return named.locate(self.source, self.path)

    def variable_at(self, path: JsonPath) -> str | None:
        """The variable that gave the value at `path`, or a value around it."""
        return variable_at(locate(self.data, path), self.uses)
