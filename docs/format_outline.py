"""The format as a list: its sections, their keys, and what the models say of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import WithJsonSchema
from pydantic.fields import FieldInfo

from dw.workflow.checks.keys import gathered_sections, known_keys, sections
from dw.workflow.format.model import Workflow
from dw.workflow.format.section import Section
from dw.workflow.json_path import spell_value


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
            kind = ", ".join(
                filter(None, (_declared(field) or _kind(field.annotation), _range(field)))
            )
            yield _key(model, name, field, kind)


def further(model: type[Section]) -> Iterator[Key]:
    """The fields that hold what stands under names of its own."""
    for name in sorted(model.gathered):
        field = model.model_fields[name]
        yield _key(model, name, field, _kind(get_args(field.annotation)[1]))


def _key(model: type[Section], name: str, field: FieldInfo, kind: str) -> Key:
    return Key(
        section=model,
        name=name,
        kind=kind,
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


def _declared(field: FieldInfo) -> str:
    """The types that a field of any type declares for the JSON Schema."""
    schemas = [m.json_schema or {} for m in field.metadata if isinstance(m, WithJsonSchema)]
    return _in_words(schemas[0]) if schemas and field.annotation is Any else ""


def _in_words(schema: Mapping[str, Any]) -> str:
    if members := schema.get("anyOf"):
        return " or ".join(filter(None, map(_in_words, members)))
    if items := schema.get("items"):
        return f"list of {_in_words(items)}"
    types: list[str] = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return " or ".join("list" if each == "array" else each for each in types if each != "null")


def _range(field: FieldInfo) -> str:
    """The values that a number may have: `1 to 1000`, `above 0`."""
    bounds = {type(bound): bound for bound in field.metadata}
    least, above, most = (bounds.get(kind) for kind in (Ge, Gt, Le))
    if least and most:
        return f"{least.ge} to {most.le}"
    words = [f"{least.ge} or more"] if least else []
    words += [f"above {above.gt}"] if above else []
    words += [f"at most {most.le}"] if most else []
    return ", ".join(words)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or value in ((), {}, "") else spell_value(value).strip("'")
