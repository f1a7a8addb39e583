"""Construction of objects: `{"reference_type": CLASS, "from_file": ...}` and similar forms.

One key ends in `_type` and names the class; another says what the object is made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FROM_FILE = "from_file"
FROM_RESULT = "from_previous_result"
FROM_ARGUMENTS = "from_arguments"
CONSTRUCTORS = (FROM_FILE, FROM_RESULT, FROM_ARGUMENTS)
PLAIN_STRINGS = frozenset({"content_type", "offload_type", "media_type"})
"""Keys that end in `_type` but do not name Python objects."""


def is_dtype_key(key: str) -> bool:
    return key == "dtype" or key.endswith("_dtype")


def is_class_key(key: str) -> bool:
    return key.endswith("_type") and key not in PLAIN_STRINGS


def is_type_key(key: str) -> bool:
    """Whether the strings under `key` name Python objects, dtypes included."""
    return is_dtype_key(key) or is_class_key(key)


def text_in_braces(key: str, value: Any) -> str | None:
    """The text in the braces that keep it from being read as the name of an object: `{default}`."""
    is_text = isinstance(value, str) and (is_type_key(key) or key in PLAIN_STRINGS)
    return value[1:-1] if is_text and value.startswith("{") and value.endswith("}") else None


def without_braces(value: Any, key: str = "") -> Any:
    """The value with the texts in braces at any depth as they are meant."""
    if isinstance(value, dict):
        return {name: without_braces(each, name) for name, each in value.items()}
    if isinstance(value, list):
        return [without_braces(each, key) for each in value]
    text = text_in_braces(key, value)
    return value if text is None else text


@dataclass(frozen=True, slots=True)
class Construction:
    """How to build an object, with the values as they stand in the file."""

    type_key: str
    constructor: str
    cls: Any  # its name, and in the engine the class itself
    source: Any  # what it is made from
    extra: Mapping[str, Any]


def construction(value: Any) -> Construction | None:
    """The construction that `value` describes, if it is one."""
    if not isinstance(value, dict):
        return None
    types = [key for key in value if is_class_key(key)]
    made = [key for key in CONSTRUCTORS if key in value]
    if len(types) != 1 or len(made) != 1:
        return None
    [type_key], [constructor] = types, made
    extra = {key: item for key, item in value.items() if key not in (type_key, constructor)}
    return Construction(type_key, constructor, value[type_key], value[constructor], extra)
