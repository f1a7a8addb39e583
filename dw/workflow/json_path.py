"""JSON paths: walks over JSON data, places in it, and their spelling in messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

JsonPath = tuple[str | int, ...]
"""Keys and list indexes from the root: `("steps", 0, "pipeline")`."""

_LONGEST_VALUE = 60  # characters of a value that a message repeats
_WINDOWS = re.compile(r"[A-Za-z]:/|.*\\", re.DOTALL)  # a drive, or a backslash anywhere


def walk(node: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, Any]]:
    """Every value with its path: parents before children, in the order of the file."""
    yield path, node
    if isinstance(node, dict):
        for key, value in node.items():
            yield from walk(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from walk(value, (*path, index))


def locate(data: Any, path: JsonPath) -> JsonPath:
    """The deepest path in `data` for a path through the models (`dw.workflow.format.model`).

    The models gather a pipeline's component overrides under `components`; in the file they stand
    beside `configuration`. Settings of the VAE may have a `configuration` inside.
    """
    found: JsonPath = ()
    node = data
    for part in path:
        if not _holds(node, part):
            if part in ("components", "others"):
                continue
            if not _holds(node, "configuration") or not _holds(node["configuration"], part):
                break
            found, node = (*found, "configuration"), node["configuration"]
        found, node = (*found, part), node[part]
    return found


def _holds(node: Any, part: str | int) -> bool:
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and part < len(node)


def is_path(text: str) -> bool:
    """Whether a model's name is a path on disk rather than a hub id."""
    return text.startswith(("./", "../", "/", "~")) or _WINDOWS.match(text) is not None


def spell_path(path: JsonPath) -> str:
    """The end of a path as a message names it: `'offload'`, `'steps[0]'`, `the workflow`."""
    if not path:
        return "the workflow"
    name = ""
    for part in reversed(path):
        if isinstance(part, str):
            return repr(part + name)
        name = f"[{part}]{name}"
    return repr(name)


def spell_value(value: Any) -> str:
    """A value in a message: shortened, strings quoted, the rest as JSON."""
    if isinstance(value, str):
        text = repr(value)
    elif value is None or isinstance(value, bool | int | float | list | dict):
        text = json.dumps(value, ensure_ascii=False, default=lambda item: type(item).__name__)
    else:
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
