"""Substitution: the values of variables and constants in the place of their names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from dw.workflow.json_path import JsonPath, walk
from dw.workflow.media import media_kind, media_reference, takes_media

_NOTHING: Mapping[Any, Any] = MappingProxyType({})
MOST_VALUES = 1_000_000
"""In all places of the variables together; a list of a thousand items may be in a thousand."""


def extent_error(values: Mapping[str, Any], uses: Mapping[JsonPath, str]) -> str | None:
    """The error for variables that fill in too much. `uses`: the variable at each path."""
    sizes = {name: sum(1 for _ in walk(values.get(name))) for name in set(uses.values())}
    count = sum(sizes[name] for name in uses.values())
    if count <= MOST_VALUES:
        return None
    return f"the variables stand for {count} values in all places; at most {MOST_VALUES} are filled"


def filled(
    data: dict[str, Any],
    values: Mapping[str, Any],
    *,
    constants: Mapping[str, Any] = _NOTHING,
    uses: Mapping[JsonPath, str] = _NOTHING,
) -> dict[str, Any]:
    """A copy of a workflow's data, with `values` for its variables and with its constants.

    `uses`: the variable at each path. A variable with a name of media, such as `mask_image`, is
    media wherever an argument may be.
    """
    copied = {key: substitute(data[key], values, constants) for key in data if key != "variables"}
    for path, name in uses.items():
        if name in values and (kind := media_kind(name)) and takes_media(path):
            _put(copied, path, media_reference(kind, _copy(values[name])))
    if isinstance(declared := data.get("variables"), dict):
        declared = _copy(values)
    return copied if declared is None else {**copied, "variables": declared}


def _put(node: Any, path: JsonPath, value: Any) -> None:
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = value


def substitute(
    node: Any, values: Mapping[str, Any], constants: Mapping[str, Any] = _NOTHING
) -> Any:
    """A deep copy with the value of NAME for each string `variable:NAME`, and the value of each
    string in `constants`.

    A reference to an unknown name stays. Values that are not JSON (images) are not copied.
    """
    if isinstance(node, str):
        if node in constants:
            return copy.deepcopy(constants[node])
        name = variable_name(node)
        return node if name is None or name not in values else _copy(values[name])
    if isinstance(node, dict):
        return {key: substitute(value, values, constants) for key, value in node.items()}
    if isinstance(node, list):
        return [substitute(value, values, constants) for value in node]
    return node


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value


def variable_name(text: str) -> str | None:
    """NAME of `variable:NAME`. Prose such as `variable: weather` is not a reference."""
    if text.startswith("variable:") and not any(map(str.isspace, text)):
        return text.removeprefix("variable:")
    return None
