"""The shape of a workflow: pydantic validates it; its errors are worded to name what is allowed."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from dw.errors import did_you_mean
from dw.workflow.checks.forms import form_hint
from dw.workflow.checks.keys import nearest_key
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import Workflow
from dw.workflow.json_path import locate, spell_path, spell_value

_WANTED = {
    "string_type": "must be a string",
    "string_too_short": "cannot be empty",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "too_short": "needs at least one item",
    "too_long": "must have at most {max_length} items",
    "greater_than": "must be above {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be below {lt}",
    "less_than_equal": "must be at most {le}",
    "is_instance_of": "must be of the type {class}",
    "finite_number": "must be a finite number",
}
"""Pydantic's error types to what the value must be."""

_KINDS = {
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "object"),
    **dict.fromkeys(("list_type", "tuple_type"), "list"),
}
"""Pydantic's error types to what a word stands in the place of."""

_MANY = 12  # choices, of which a message lists only the nearest
_CHOICE = re.compile(r"'([^']*)'")


def check_shape(data: Any) -> tuple[Workflow | None, tuple[DataDiagnostic, ...]]:
    """The workflow, or None and the errors in the shape of `data`."""
    try:
        return Workflow.model_validate(data), ()
    except ValidationError as error:
        return None, tuple(_check_errors(error, data))


def _check_errors(error: ValidationError, data: Any) -> Diagnostics:
    for detail in error.errors(include_url=False):
        path = locate(data, detail["loc"])
        if detail["type"] == "missing":
            key, given = str(detail["loc"][-1]), detail["input"]
            if not (isinstance(given, dict) and nearest_key(key, given)):  # else `check_keys` does
                yield DataDiagnostic(path, f"{spell_path(path)} needs {key!r}")
        elif detail["type"] == "too_short" and detail["input"]:
            continue  # pydantic does not count the items with errors
        else:
            kind = _KINDS.get(detail["type"])
            form = form_hint(path, detail["input"], as_list=kind == "list") if kind else ""
            yield DataDiagnostic(path, f"{spell_path(path)} {describe_error(detail)}{form}")


def describe_error(detail: ErrorDetails) -> str:
    """What the value must be, and what it is, in words."""
    context: dict[str, Any] = {
        name: int(limit) if isinstance(limit, float) and limit.is_integer() else limit
        for name, limit in detail.get("ctx", {}).items()
    }
    value = detail["input"]
    got = f", got {spell_value(value)}"
    if detail["type"] == "literal_error":
        choices = _CHOICE.findall(context["expected"])
        hint = did_you_mean(value, choices) if isinstance(value, str) else ""
        if hint and len(choices) > _MANY:
            return f"cannot be {spell_value(value)}{hint}"
        listed = ", ".join(map(repr, choices)) or context["expected"]  # 2, 4 or 8
        return f"must be one of {listed}{got}{hint}"
    if detail["type"] in ("string_too_short", "too_short", "too_long"):
        return _WANTED[detail["type"]].format(**context)
    wanted = _WANTED.get(detail["type"])
    sentence = wanted.format(**context) if wanted else detail["msg"]
    return f"{sentence}{got}{context.get('hint', '')}"
