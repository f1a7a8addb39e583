"""Keys: unknown ones, and ones that exclude each other."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any, get_args, get_origin

from dw.errors import did_you_mean
from dw.vocabulary import ARGUMENTS, meant_by, way_of
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.model import Step, Workflow
from dw.workflow.format.section import Section, words
from dw.workflow.json_path import JsonPath

_NEAR = 0.75
"""Similarity from which an unknown key counts as a typing error: `stpes` for `steps`. `notes` (0.6)
does not; people keep notes in their files."""

REMARKS = words("author comment comments description note notes remark remarks title todo")
"""Keys of notes that people keep in the objects of their files."""

_NOTES = words("format inputs mode model names options outputs path server type url variant")
"""Keys of many objects, or words of notes: where they may stand says nothing."""


def check_keys(data: Any, model: type[Section] = Workflow, path: JsonPath = ()) -> Diagnostics:
    """Unknown and conflicting keys at every level; the models report wrong types."""
    if not isinstance(data, dict):
        return
    for key in data:
        yield from _check_key(key, data, model, path)
    for conflict in model.conflicts(data):
        yield conflict.below(path)
    for key, inner in sections(model).items():
        value, here = data.get(key), (*path, key)
        match value:
            case dict() if is_mapping(model, key):
                for name, item in value.items():
                    yield from check_keys(item, inner, (*here, name))
            case dict():
                yield from check_keys(value, inner, here)
            case list() if not is_mapping(model, key):
                for index, item in enumerate(value):
                    yield from check_keys(item, inner, (*here, index))
    for key, inner in model.nested(data).items():
        yield from check_keys(data[key], inner, (*path, key))


def _check_key(key: str, data: dict[str, Any], model: type[Section], path: JsonPath) -> Diagnostics:
    here = (*path, key)
    if key in known_keys(model) or key in model.nested(data):
        return
    if way := model.elsewhere.get(key):
        yield DataDiagnostic(here, f"unknown key {key!r}: {way}", at_key=True)
    elif way := meaning(key, known_keys(model), data[key]):
        yield DataDiagnostic(here, f"unknown key {key!r}{way}", at_key=True)
    elif not _is_note(key, model):
        known = ", ".join(sorted(known_keys(model)))
        hint = did_you_mean(key, known_keys(model)) or f"; known are {known}"
        yield DataDiagnostic(here, f"unknown key {key!r}{hint}", at_key=True)
    elif not key.startswith(("_", "$")):
        yield DataDiagnostic(here, f"unknown key {key!r} is ignored", "warning", at_key=True)


def _is_note(key: str, model: type[Section]) -> bool:
    """Whether an unknown key is a user's note. Below the workflow it must look like one: what was
    meant for a step would be lost, and its images be others."""
    if model.closed or nearest_key(key, known_keys(model)):
        return False
    return model is Workflow or key.startswith(("_", "$")) or key in REMARKS


def meaning(key: str, known: Collection[str], value: Any = None) -> str:
    """What is written for a key that another program has, or that stands at another place here, as
    the end of a sentence."""
    if meant_by(key, known):
        return did_you_mean(key, known)
    if way := way_of(key, value):
        return way
    meant = meant_by(key, ARGUMENTS)
    if (meant or key in ARGUMENTS) and ARGUMENTS.isdisjoint(known):
        return f"; write {json.dumps(meant or key)} inside 'arguments'"
    places = _places().get(key, ())
    if 0 < len(places) < 3:
        return f"; it is a key of {' or '.join(map(repr, places))}"
    return ""


@cache
def _places() -> Mapping[str, list[str]]:
    """The keys of a step's parts to the names of the objects that have them."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, type[Section]]] = list(sections(Step).items())
    for name, model in waiting:
        for key in sorted(known_keys(model) - _NOTES):
            if name not in (names := found.setdefault(key, [])):
                names.append(name)
        inner = ((each, part) for each, part in sections(model).items() if part is not model)
        waiting += [(each, part) for each, part in inner if (each, part) not in waiting]
    return found


def nearest_key(key: str, others: Iterable[str]) -> str | None:
    """The key that was probably meant."""
    return next(iter(get_close_matches(key, others, n=1, cutoff=_NEAR)), None)


@cache
def known_keys(model: type[Section]) -> frozenset[str]:
    """The keys that a file may have."""
    return model.accepted | (model.model_fields.keys() - model.gathered)


@cache
def sections(model: type[Section]) -> dict[str, type[Section]]:
    """The fields that hold objects of the format, or lists of them, with their models."""
    fields = {key: _section(field.annotation) for key, field in model.model_fields.items()}
    return {key: inner for key, inner in fields.items() if inner and key in known_keys(model)}


def is_mapping(model: type[Section], key: str) -> bool:
    """Whether a field holds objects of the format by free names."""
    return get_origin(model.model_fields[key].annotation) is dict


def gathered_sections(model: type[Section]) -> Iterator[type[Section]]:
    """The models of the objects under keys whose names are not fixed."""
    fields = (model.model_fields[name] for name in sorted(model.gathered))
    yield from filter(None, (_section(field.annotation) for field in fields))


def _section(annotation: Any) -> type[Section] | None:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next(filter(None, map(_section, get_args(annotation))), None)
