"""Variables: conversion of an argument, text or JSON, to the type of the variable's default."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from dw.errors import UsageError
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import spell_value
from dw.workflow.media import is_media_reference
from dw.workflow.references import is_constant

_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{0,99}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,4000}")  # Python reads integers of up to 4,300 digits
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_BOOLEANS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}


class _WrongType(Exception):
    """A value that is not of the declared type."""


def check_names(variables: Any) -> Diagnostics:
    """Variable names that cannot be set as `name=value`."""
    for name in variables if isinstance(variables, Mapping) else ():
        if not _NAME.fullmatch(name):
            message = (
                f"a variable is named by letters, digits, '_' and '-', got {spell_value(name)}"
            )
            yield DataDiagnostic(("variables", name), message, at_key=True)


def type_name(default: Any) -> str:
    """The declared type in words; of a list whose items have one type, also that type."""
    default = _declared(default)
    if default is None:
        return "any value"
    name, _, _ = _TYPES[type(default)]
    item = _item_default(default)
    return name if item is None else f"{name} of {_TYPES[type(item)][1]}"


def convert(name: str, default: Any, value: Any) -> Any:
    """`value` as the type of `default`; null allows any type.

    Text is parsed as that type; JSON must have it, and an integer is a number as well. Values that
    are not known yet (an image to load, a constant) or not JSON (an image of an earlier step) are
    returned as they are. Raises UsageError.
    """
    default = _declared(default)
    if default is None or not _is_json(value) or is_pending(value):
        return value
    try:
        return _read(value, default)
    except _WrongType:
        message = f"{name} must be {type_name(default)}, got {spell_value(value)}"
        hint = f"the default {default} makes it an integer; {default}.0 would allow fractions"
        is_number = type(default) is int and (isinstance(value, float) or _is_number(value))
        raise UsageError(message, hints=[hint] if is_number else []) from None


def is_pending(value: Any) -> bool:
    """Whether a value stands for one that is not known yet: an image to load, a constant."""
    return is_media_reference(value) or (isinstance(value, str) and is_constant(value))


def _declared(default: Any) -> Any:
    """The default as JSON; None where it allows any type, as does a constant whose value is not
    known."""
    if isinstance(default, tuple):
        return list(default)
    is_open = type(default) not in _TYPES or (isinstance(default, str) and is_constant(default))
    return None if is_open else default


def _is_json(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(_is_json, value.values()))
    if isinstance(value, list):
        return all(map(_is_json, value))
    return value is None or isinstance(value, bool | int | float | str)


# ------------------------------------------------------------------ one reader for each type


def _read(value: Any, default: Any) -> Any:
    _, _, reader = _TYPES[type(default)]
    return reader(value, default)


def _boolean(value: Any, _: bool) -> bool:
    if isinstance(value, str) and (known := _BOOLEANS.get(value.strip().lower())) is not None:
        return known
    if isinstance(value, bool):
        return value
    raise _WrongType


def _integer(value: Any, _: int) -> int:
    if isinstance(value, str) and _INTEGER.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _WrongType


def _number(value: Any, _: float) -> float:
    if isinstance(value, bool) or not (isinstance(value, int | float) or _is_number(value)):
        raise _WrongType
    try:
        number = float(value)
    except OverflowError:
        raise _WrongType from None
    if math.isfinite(number):
        return number
    raise _WrongType


def _is_number(value: Any) -> bool:
    return isinstance(value, str) and _NUMBER.fullmatch(value.strip()) is not None


def _string(value: Any, _: str) -> str:
    if isinstance(value, str):
        return value
    raise _WrongType


def _list(value: Any, default: list[Any]) -> list[Any]:
    if isinstance(value, list):
        return value
    if not isinstance(value, str):
        raise _WrongType
    items = [item.strip() for item in value.split(",")] if value.strip() else []
    item_default = _item_default(default)
    return items if item_default is None else [_read(item, item_default) for item in items]


def _item_default(default: Any) -> Any:
    """The first item, when all have one type: text for [512, 768] is parsed as numbers."""
    if not isinstance(default, list) or len({type(item) for item in default}) != 1:
        return None
    return None if isinstance(default[0], list | dict) else default[0]


def _object(value: Any, default: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return value
    # An image that is declared as {"location": ...} may be given by its bare path.
    if isinstance(value, str) and "location" in default:
        return value
    raise _WrongType


_TYPES: dict[type, tuple[str, str, Callable[[Any, Any], Any]]] = {
    bool: ("true or false", "booleans", _boolean),
    int: ("an integer", "integers", _integer),
    float: ("a number", "numbers", _number),
    str: ("a string", "strings", _string),
    list: ("a list", "lists", _list),
    dict: ("an object", "objects", _object),
}
"""The type of a default to its name, its plural, and the parser of its values."""
