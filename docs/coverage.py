"""Coverage of the format: a test and an example of each key, form and command."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from inspect import get_annotations
from typing import Any

from docs.examples import ROOT, documents, objects
from docs.format_outline import all_keys
from docs.reference import registry
from dw.workflow.format.section import Section
from dw.workflow.json_path import walk

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

_KNOWN = frozenset(key.name for key in all_keys())
_JSON_KEY = re.compile(r'"(\w+)"\s*:')


@dataclass(frozen=True)
class Use:
    """What is used, the first test file and the first example that have it."""

    kind: str
    name: str
    test: str | None
    example: str | None


@cache
def uses() -> tuple[Use, ...]:
    titles = {_title(key.section, key.name): key.name for key in all_keys()}
    written, quoted = _tests(_keys), _tests(_words)
    keys = [Use("key", t, written.get(name), _examples().get(t)) for t, name in titles.items()]
    others = [("form", name) for name in FORMS] + [("command", name) for name in registry()]
    rest = [Use(kind, name, quoted.get(name), _examples().get(name)) for kind, name in others]
    return (*keys, *rest)


def _tests(used: Callable[[ast.AST], Iterator[str]]) -> Mapping[str, str]:
    """Each word that a test uses, and the first such file."""
    found: dict[str, str] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if path.name != "test_coverage.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                for word in used(node):
                    found.setdefault(word, str(path.relative_to(ROOT)))
    return found


def _keys(node: ast.AST) -> Iterator[str]:
    """Keys that a test writes: of an object, of JSON in a text, by keyword, by index, in a path."""
    match node:
        case ast.keyword(arg=str(name)) | ast.Subscript(slice=ast.Constant(value=str(name))):
            yield name
        case ast.Dict(keys=keys):
            yield from _texts(keys)
        case ast.Tuple(elts=parts) if {*_texts(parts)} <= _KNOWN:
            yield from _texts(parts)
        case ast.Constant(value=str(text)):
            yield from _JSON_KEY.findall(text)
        case ast.ImportFrom(module=str(module)) if module.startswith("dw."):
            yield from _in_tables(module, [alias.name for alias in node.names])


def _words(node: ast.AST) -> Iterator[str]:
    """Every text that a test holds, the words quoted in it and the forms that it has."""
    match node:
        case ast.Constant(value=str(text)):
            yield from (text, *text.split('"')[1::2])
            yield from (form for form in FORMS if form.endswith(":") and form in text)
        case ast.ImportFrom(module=str(module)) if module.startswith("dw."):
            yield from _in_tables(module, [alias.name for alias in node.names])


def _texts(nodes: Iterable[ast.AST | None]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _in_tables(module: str, names: list[str]) -> Iterator[str]:
    """The keys of the tables of dw that a test goes through."""
    for name in filter(str.isupper, names):
        table = getattr(import_module(module), name, None)
        yield from (key for key in table if isinstance(key, str)) if isinstance(table, dict) else ()


@cache
def _examples() -> Mapping[str, str]:
    """Each key as `Section.key`, each form and each command, and the example that has it."""
    found: dict[str, str] = {}
    for path, data in documents().items():
        keys = [_title(each.model, key) for each in objects(data) for key in each.data]
        for word in [*keys, *_forms_in(data)]:
            found.setdefault(word, path)
    return found


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
