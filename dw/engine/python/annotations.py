"""Annotations: the types of parameters, compared with the values that a workflow gives them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from dw.workflow.format.construction import construction
from dw.workflow.json_path import spell_value
from dw.workflow.media import is_media_reference, media_kind
from dw.workflow.references import is_reference

_NAMES: dict[type, str] = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "a string",
    list: "a list",
    dict: "an object",
}
"""The types of JSON values and their names in messages."""

_AS_JSON: dict[Any, type] = {tuple: list, Sequence: list, Mapping: dict}


def evaluated_signature(function: Callable[..., Any]) -> inspect.Signature:
    """The signature with annotations evaluated, or as text where one of them cannot be.

    Raises ValueError when the signature is unknown, as in C code.
    """
    try:
        return inspect.signature(function, eval_str=True)
    except (AttributeError, NameError, TypeError):
        # It may name what its module imports for type checkers only, or join a text with `|`.
        return inspect.signature(function)


def type_error(parameter: Parameter, value: Any) -> str | None:
    """The message for a value of the wrong type; None when it fits, and for a reference, a file and
    an object, whose values are known only later.
    """
    if isinstance(value, str) and (is_reference(value) or media_kind(parameter.name)):
        return None
    if construction(value) is not None or is_media_reference(value):
        return None
    kinds = _expected(parameter.annotation, value)
    return kinds and f"{parameter.name!r} must be {kinds}, got {spell_value(value)}"


def _expected(annotation: Any, value: Any) -> str | None:
    """The types that the annotation allows, in words, when `value` has none of them; else None.

    Only JSON values are compared, and only with annotations of such types. An integer is a number,
    and null always fits, as it may stand for an argument that is not given yet.
    """
    is_union = get_origin(annotation) in (Union, UnionType)
    members = get_args(annotation) if is_union else (annotation,)
    origins = [get_origin(member) or member for member in members]
    types = [_AS_JSON.get(origin, origin) for origin in origins]
    if type(value) not in _NAMES or not all(k in _NAMES or k is NoneType for k in types):
        return None
    if type(value) in types or (type(value) is int and float in types):
        return None
    return " or ".join(dict.fromkeys(_NAMES[kind] for kind in types if kind in _NAMES)) or None
