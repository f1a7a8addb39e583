"""Module source: the names and constants of an installed module, without importing it."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_OPENERS = ("globals", "setattr")  # with these a module gives itself names


def find_module(path: list[str]) -> tuple[Path | None, list[str]]:
    """The file of the longest leading part that is a module, and the names after it."""
    spec = find_spec(path[0])
    if spec is None or not spec.submodule_search_locations:
        return None, path[1:]
    folder = Path(next(iter(spec.submodule_search_locations)))
    for index, part in enumerate(path[1:], start=1):
        if (folder / part / "__init__.py").is_file():
            folder /= part
        elif (folder / f"{part}.py").is_file():
            return folder / f"{part}.py", path[index + 1 :]
        else:
            return folder / "__init__.py", path[index:]
    return folder / "__init__.py", []


def constant_names(module: str) -> tuple[str, ...]:
    """The names that the module with this dotted name assigns to; empty if it is not installed."""
    file, _ = find_module(module.split("."))
    return () if file is None else tuple(read_module(file).values)


def enum_values(module: str, name: str) -> tuple[str, ...]:
    """The string values of an enumeration in a module; empty if it is not installed."""
    file, _ = find_module(module.split("."))
    members = () if file is None else read_module(file).members.get(name, ())
    return tuple(value for value in members if isinstance(value, str))


@dataclass(frozen=True)
class Module:
    """The names in the source of a module."""

    names: Counter[str]  # each defined name, and how often
    callables: frozenset[str]  # functions and classes
    values: Mapping[str, ast.expr]  # of the plain assignments
    members: Mapping[str, tuple[object, ...]]  # of each class, the constants in its body
    is_open: bool  # it may have names that are not in its source


@cache
def read_module(file: Path) -> Module:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):  # for another Python; the engine reports it
        return Module(Counter(), frozenset(), {}, {}, is_open=True)
    definitions = [each for each in tree.body if isinstance(each, _DEFINITIONS)]
    names = Counter(name for node in ast.walk(tree) for name in _defined(node))
    return Module(
        names=names,
        callables=frozenset(each.name for each in definitions),
        values=dict(_assigned(tree.body)),
        members={
            each.name: tuple(
                node.value for _, node in _assigned(each.body) if isinstance(node, ast.Constant)
            )
            for each in definitions
        },
        is_open=bool({"*", "__getattr__", *_OPENERS} & names.keys()),
    )


def _defined(node: ast.AST) -> Iterator[str]:
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, ast.alias):
        yield (node.asname or node.name).partition(".")[0]
    elif isinstance(node, ast.Name) and (isinstance(node.ctx, ast.Store) or node.id in _OPENERS):
        yield node.id


def _assigned(statements: Iterable[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    for each in statements:
        if isinstance(each, ast.Assign | ast.AnnAssign) and each.value is not None:
            targets = each.targets if isinstance(each, ast.Assign) else [each.target]
            names = (target.id for target in targets if isinstance(target, ast.Name))
            yield from ((name, each.value) for name in names)
