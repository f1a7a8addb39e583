"""docs/coverage.md: for each key, form and command of the format, a test and an example with it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import get_annotations
from pathlib import Path
from typing import Any

from docs.reference import registry
from dw.workflow.jsonc import parse_json
from dw.workflow.keys import is_mapping, sections
from dw.workflow.model import Workflow
from dw.workflow.outline import all_keys
from dw.workflow.section import Section
from dw.workflow.tree import walk

ROOT = Path(__file__).resolve().parent.parent

FORMS = (
    "variable:",
    "previous_result:",
    "constant:",
    "builtin:",
    "media_type",
    "from_file",
    "from_previous_result",
    "from_arguments",
)
"""What texts begin with, and keys of objects among the arguments: no keys of a section."""


@dataclass(frozen=True)
class Use:
    """What is used, the first test file that names it, and the first example that has it."""

    kind: str
    name: str
    test: str | None
    example: str | None


@cache
def uses() -> tuple[Use, ...]:
    titles = {_title(key.section, key.name): key.name for key in all_keys()}
    keys = [Use("key", t, _tests().get(name), _examples().get(t)) for t, name in titles.items()]
    others = [("form", name) for name in FORMS] + [("command", name) for name in registry()]
    rest = [Use(kind, name, _tests().get(name), _examples().get(name)) for kind, name in others]
    return (*keys, *rest)


def table() -> str:
    rows = [
        f"| {use.kind} | `{use.name}` | {use.test or '-'} | {use.example or '-'} |"
        for use in uses()
    ]
    return "\n".join(["| | | test | example |", "| --- | --- | --- | --- |", *rows])


@cache
def _tests() -> Mapping[str, str]:
    """Each word that a test quotes, passes by name or goes through, and the first such file."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.name != "test_coverage.py":
            for word in _words(ast.parse(path.read_text(encoding="utf-8"))):
                found.setdefault(word, str(path.relative_to(ROOT)))
    return found


def _words(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg:
            yield node.arg
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from _in_text(node.value)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("dw."):
            yield from _in_tables(str(node.module), [alias.name for alias in node.names])


def _in_tables(module: str, names: list[str]) -> Iterator[str]:
    """The keys of the tables of dw that a test goes through."""
    for name in filter(str.isupper, names):
        table = getattr(import_module(module), name, None)
        yield from (key for key in table if isinstance(key, str)) if isinstance(table, dict) else ()


def _in_text(text: str) -> Iterator[str]:
    """The text, the words that are quoted in it, and the forms that it holds."""
    yield text
    yield from text.split('"')[1::2]
    yield from (form for form in FORMS if form.endswith(":") and form in text)


@cache
def _examples() -> Mapping[str, str]:
    """Each key as `Section.key`, each form and each command, and the example that has it."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "examples").rglob("*.json")):
        data = parse_json(path.read_text(encoding="utf-8")).data
        for word in [*_keys_in(data, Workflow), *_forms_in(data)]:
            found.setdefault(word, str(path.relative_to(ROOT)))
    return found


def _keys_in(data: Any, model: type[Section]) -> Iterator[str]:
    """The keys of an object of the format, or of a list or mapping of them."""
    if isinstance(data, list):
        for item in data:
            yield from _keys_in(item, model)
    elif isinstance(data, dict):
        inner = {**sections(model), **model.nested(data)}
        for name, value in data.items():
            yield _title(model, name)
            if name not in inner:
                continue
            is_named = name in model.model_fields and is_mapping(model, name)
            if is_named and isinstance(value, dict):
                yield from (k for each in value.values() for k in _keys_in(each, inner[name]))
            else:
                yield from _keys_in(value, inner[name])


def _title(model: type[Section], name: str) -> str:
    """A key with the section that declares it, which may be the base of several."""
    owners = [each for each in model.__mro__ if name in get_annotations(each)]
    return f"{(owners or [model])[-1].__name__}.{name}"


def _forms_in(data: Any) -> Iterator[str]:
    for path, value in walk(data):
        if isinstance(value, dict):
            yield from value
        elif isinstance(value, str):
            yield from (form for form in FORMS if value.startswith(form))
            if path[-1] == "command":
                yield value
