"""`variable:NAME` gives way to the value of NAME."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def filled(data: dict[str, Any], values: dict[str, Any]) -> dict[str, Any]:
    """A workflow's data, copied, with `values` for its variables."""
    copied = {key: substitute(data[key], values) for key in data if key != "variables"}
    if isinstance(declared := data.get("variables"), dict):
        declared = _copy(values)
    return copied if declared is None else {**copied, "variables": declared}


def substitute(node: Any, values: Mapping[str, Any]) -> Any:
    """A deep copy in which each string `variable:NAME` is the value of NAME.

    A reference to a name without value stays. Values that are not JSON (pictures) are not copied.
    """
    if isinstance(node, str):
        name = variable_name(node)
        return node if name is None or name not in values else _copy(values[name])
    if isinstance(node, dict):
        return {key: substitute(value, values) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, values) for value in node]
    return node


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def variable_name(text: str) -> str | None:
    """NAME of `variable:NAME`. Prose such as `variable: weather` is no reference."""
    if text.startswith("variable:") and not any(map(str.isspace, text)):
        return text.removeprefix("variable:")
    return None
