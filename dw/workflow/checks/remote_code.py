"""Remote code: code in a workflow's folder or a model's repository runs only with trust."""

from __future__ import annotations

from typing import Any

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import spell_value, walk
from dw.workflow.references import is_reference

KEYS = ("custom_pipeline", "trust_remote_code")


def check_remote_code(data: dict[str, Any], *, trust: bool) -> Diagnostics:
    """Arguments of loaders that make them run code."""
    for path, value in walk(data.get("steps"), ("steps",)):
        if path[-1:] == ("from_pretrained_arguments",) and isinstance(value, dict):
            for key in KEYS:
                if message := _option_error(key, value, trust=trust):
                    yield DataDiagnostic((*path, key), message)


def _option_error(key: str, arguments: dict[str, Any], *, trust: bool) -> str | None:
    value = arguments.get(key)
    if value in (None, False) or (isinstance(value, str) and is_reference(value)):
        return None
    if key == "custom_pipeline":
        if not isinstance(value, str) or not value:
            return f"{key!r} must be a string, got {spell_value(value)}"
        what = f"would run the pipeline {value!r}"
    else:
        if value is not True:
            return f"{key!r} must be true or false, got {spell_value(value)}"
        what = f"would run the code that comes with {spell_value(arguments.get('model_name'))}"
    return None if trust else f"{key!r} {what}; the setting 'trust' allows it"
