"""Annotations: the types of parameters, compared with the values that a workflow gives them."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
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

_AS_JSON: dict[Any, type] = {tuple: list, Sequence: list, Iterable: list, Mapping: dict}

_OTHERS = (
    ("a tensor", re.compile(r"\w*Tensor")),
    ("a generator", re.compile(r"Generator")),
    ("an image", re.compile(r"Image")),
    ("an array", re.compile(r"ndarray")),
    ("a function", re.compile(r"Callable|\w*PipelineCallbacks?")),
)
"""Types of which JSON has no value, by the names of their classes."""

_SOURCES = {
    "a function": ", which a workflow cannot give",
    "a tensor": ", which an earlier step gives: previous_result:STEP",
}
"""Where values of these types come from."""

_HALF_CHARACTER = re.compile("[\ud800-\udfff]")


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
    if _is_open(value) or (media_kind(parameter.name) and not _has_numbers(value)):
        return None
    if isinstance(value, str) and _HALF_CHARACTER.search(value):
        return f"{parameter.name!r} holds a byte that is not UTF-8 text, got {spell_value(value)}"
    wanted = _expected(parameter.annotation, value)
    if wanted is None:
        return None
    got = f"got {spell_value(value)}"
    if media_kind(parameter.name):
        return f"{parameter.name!r} must be a file, a URL or a result of an earlier step, {got}"
    hint = _SOURCES.get(wanted, "")
    return f"{parameter.name!r} must be {wanted}{hint}, {got}"


def takes_tuple(annotation: Any) -> bool:
    """Whether a list of JSON must become a tuple: a tuple is annotated, and no list beside it."""
    kinds = {get_origin(member) or member for member in _members(annotation)}
    return tuple in kinds and kinds.isdisjoint({list, Sequence, Iterable})


def _is_open(value: Any) -> bool:
    """Whether the value is known only later: a reference, a file, an object."""
    if isinstance(value, str):
        return is_reference(value)
    return construction(value) is not None or is_media_reference(value)


def _has_numbers(value: Any) -> bool:
    """Whether there is a number where the names of files should be."""
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, int | float) for each in values)


def _expected(annotation: Any, value: Any) -> str | None:
    """The types that the annotation allows, in words, when `value` has none of them; else None.

    Only JSON values are compared, and only with annotations of known types. An integer is a number,
    and null always fits, as it may stand for an argument that is not given yet.
    """
    if type(value) not in _NAMES:
        return None
    wanted: list[str] = []
    for member in _members(annotation):
        if member is NoneType:
            continue
        words = _words(member)
        if words is None or _takes(member, value):
            return None
        wanted.append(words)
    return " or ".join(dict.fromkeys(wanted)) or None


def _members(annotation: Any) -> tuple[Any, ...]:
    is_union = get_origin(annotation) in (Union, UnionType)
    return get_args(annotation) if is_union else (annotation,)


def _json_type(annotation: Any) -> Any:
    origin = get_origin(annotation) or annotation
    return _AS_JSON.get(origin, origin)


def _words(annotation: Any) -> str | None:
    """A type in words; None for one that says nothing about JSON values."""
    kind = _json_type(annotation)
    if kind is list and (items := _item_types(annotation)):
        plurals = {int: "a list of integers", float: "a list of numbers", str: "a list of strings"}
        return plurals.get(items[0], "a list") if len(items) == 1 else "a list"
    if kind in _NAMES:
        return _NAMES[kind]
    name = getattr(kind, "__name__", "")
    return next((words for words, names in _OTHERS if names.fullmatch(name)), None)


def _item_types(annotation: Any) -> tuple[Any, ...]:
    return tuple(dict.fromkeys(each for each in get_args(annotation) if each is not Ellipsis))


def _takes(annotation: Any, value: Any) -> bool:
    kind = _json_type(annotation)
    if kind is not list or type(value) is not list:
        return type(value) is kind or (type(value) is int and kind is float)
    items = _item_types(annotation)
    union = Union[items] if items else Any  # noqa: UP007 - made of a tuple
    return all(_is_open(item) or _expected(union, item) is None for item in value)
