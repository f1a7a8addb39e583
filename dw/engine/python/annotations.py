"""Values of a workflow against the annotations of the parameters that take them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
"""The types that JSON has, and what a message calls them."""

_AS_JSON: dict[Any, type] = {tuple: list, Sequence: list, Mapping: dict}


def type_error(parameter: Parameter, value: Any) -> str | None:
    """The message for a value that its parameter does not take; what is not known yet, or is read
    or built later, fits."""
    if isinstance(value, str) and (is_reference(value) or media_kind(parameter.name)):
        return None
    if construction(value) is not None or is_media_reference(value):
        return None
    kinds = wanted(parameter.annotation, value)
    return kinds and f"{parameter.name!r} must be {kinds}, got {spell_value(value)}"


def wanted(annotation: Any, value: Any) -> str | None:
    """What `value` would have to be for a parameter with this annotation; None when it fits.

    Only values that JSON has are judged, against annotations of such types alone. An integer is a
    number, and null is never wrong: it may stand for an argument that is not given yet.
    """
    types = [_json_type(member) for member in _members(annotation)]
    if type(value) not in _NAMES or any(kind is None for kind in types):
        return None
    if type(value) in types or (type(value) is int and float in types):
        return None
    return " or ".join(dict.fromkeys(_NAMES[kind] for kind in types if kind in _NAMES)) or None


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _json_type(annotation: Any) -> type | None:
    """The type of JSON values that fit; None when they cannot be judged."""
    origin = get_origin(annotation) or annotation
    kind = _AS_JSON.get(origin, origin)
    return kind if kind in _NAMES or kind is NoneType else None
