"""The format as a list: its sections, their keys, and what the models say of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from dw.workflow.keys import gathered_sections, known_keys, sections
from dw.workflow.model import Workflow
from dw.workflow.section import Section
from dw.workflow.tree import spell_value


@dataclass(frozen=True)
class Key:
    """One key of a section. `kind` and `default` are words for a table."""

    section: type[Section]
    name: str
    kind: str
    default: str
    description: str
    is_required: bool

    @property
    def title(self) -> str:
        return f"{self.section.__name__}.{self.name}"


@cache
def all_sections() -> tuple[type[Section], ...]:
    """Every section of the format, outer ones first."""
    found: dict[type[Section], None] = {}
    waiting: list[type[Section]] = [Workflow]
    while waiting:
        model = waiting.pop(0)
        if model not in found:
            found[model] = None
            waiting += [*sections(model).values(), *gathered_sections(model)]
    return tuple(found)


def keys_of(model: type[Section]) -> Iterator[Key]:
    """The keys that are fields, in their order."""
    for name, field in model.model_fields.items():
        if name in known_keys(model):
            yield Key(
                section=model,
                name=name,
                kind=_kind(field.annotation),
                default=_default(field),
                description=field.description or "",
                is_required=field.is_required(),
            )


def all_keys() -> tuple[Key, ...]:
    return tuple(key for model in all_sections() for key in keys_of(model))


_KINDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "list",
    dict: "object",
    Any: "any",
}


def _kind(annotation: Any) -> str:
    """The type of a field in words: `string`, `list of Lora`, `model or sequential`."""
    origin, members = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{member}`" for member in members)
    if origin is dict and members[1] is not Any:
        return f"object of {_kind(members[1])}"
    if origin in (list, tuple):
        item = _kind(members[0])
        return "list" if item == "any" else f"list of {item}"
    if annotation in _KINDS or origin in _KINDS:
        return _KINDS[annotation if annotation in _KINDS else origin]
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation.__name__
    kinds = [_kind(member) for member in members if member is not type(None)]
    if origin is not None and hasattr(annotation, "__metadata__"):
        return kinds[0]
    return " or ".join(dict.fromkeys(kinds))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value in ((), {}, "") else spell_value(value).strip("'")
