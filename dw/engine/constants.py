"""The constants that a workflow names, imported."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from dw.engine.python import resolve
from dw.errors import WorkflowError
from dw.workflow import Diagnostic, Document
from dw.workflow.references import constants_in
from dw.workflow.substitution import substitute


def imported(document: Document, *, trust: bool) -> tuple[Document, tuple[Diagnostic, ...]]:
    """The document, and its sub-workflows, knowing what each of its constants is; and those that
    cannot be had."""
    found: dict[str, Any] = {}
    problems: list[Diagnostic] = []
    for path, text in constants_in(document.data):
        try:
            found[text] = resolve.constant(text, trust=trust)
        except WorkflowError as error:
            problems.append(document.diagnostic_at(path, error.message))
    children: dict[str, Document] = {}
    for name, child in document.children.items():
        children[name], inner = imported(child, trust=trust)
        problems += inner
    return replace(document, constants=found, children=children), tuple(problems)


def argument_of(value: Any, *, trust: bool) -> Any:
    """An argument of a run, with its constants in the place of their names. Raises
    WorkflowError."""
    found = {text: resolve.constant(text, trust=trust) for _, text in constants_in(value)}
    return substitute(value, {}, found)
