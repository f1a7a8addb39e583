"""Validation of a workflow's data: keys, shape, references, classes, sub-workflows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from dw.errors import UsageError, did_you_mean
from dw.workflow.checks.classes import check_classes
from dw.workflow.checks.constants import check_constants
from dw.workflow.checks.keys import check_keys
from dw.workflow.checks.options import check_options
from dw.workflow.checks.shape import check_shape
from dw.workflow.checks.sharing import check_pipeline_references, check_reused
from dw.workflow.checks.texts import check_texts
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import Workflow
from dw.workflow.json_path import JsonPath
from dw.workflow.media import check_media
from dw.workflow.references import check_steps, is_reference

if TYPE_CHECKING:
    from dw.workflow.document import Document


def validate(
    data: dict[str, Any],
    children: Mapping[str, Document],
    *,
    trust: bool,
    variables: Collection[str] = (),
) -> tuple[Workflow | None, tuple[DataDiagnostic, ...]]:
    """The workflow in `data`, whose `variables` (these names) are filled in, and its diagnostics.

    The workflow is None only when its shape is wrong.
    """
    workflow, diagnostics = check_shape(data)
    return workflow, (
        *check_keys(data),
        *diagnostics,
        *check_steps(data),
        *check_pipeline_references(data),
        *check_reused(data),
        *check_classes(data, trust=trust),
        *check_constants(data.get("steps"), ("steps",), trust=trust),
        *check_media(data),
        *check_options(data, trust=trust),
        *check_sub_arguments(data, children),
        *check_texts(data, variables),
    )


def check_sub_arguments(data: Any, children: Mapping[str, Document]) -> Diagnostics:
    """The arguments of sub-workflows against the variables that they declare."""
    for path, action in sub_workflows(data):
        name, arguments = action.get("path"), action.get("arguments")
        child = children.get(name) if isinstance(name, str) else None
        if child is None or not child.has_arguments or not isinstance(arguments, dict):
            continue
        for name in child.required:
            if name not in arguments:
                yield DataDiagnostic(
                    (*path, "arguments"), f"{child.id} needs the argument {name!r}"
                )
        for name, value in arguments.items():
            here = (*path, "arguments", name)
            if name not in child.variables:
                hint = did_you_mean(name, child.variables)
                yield DataDiagnostic(
                    here, f"{child.id} has no argument {name!r}{hint}", at_key=True
                )
            elif not (isinstance(value, str) and is_reference(value)):
                try:
                    child.convert(name, value)
                except UsageError as error:
                    yield DataDiagnostic(here, error.message)


def sub_workflows(data: Any) -> Iterator[tuple[JsonPath, dict[str, Any]]]:
    """The `workflow` objects of the steps, with their paths."""
    steps = data.get("steps") if isinstance(data, dict) else None
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        action = step.get("workflow") if isinstance(step, dict) else None
        if isinstance(action, dict):
            yield ("steps", index, "workflow"), action
