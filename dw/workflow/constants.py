"""`constant:NAME`: a value of a Python module, judged and, where it is a literal, read without
importing what it names.

The text of the module is read instead (5 ms; importing diffusers costs seconds). What cannot be
told from it, such as a value that is computed, stays as it is until the engine imports it.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dw.errors import did_you_mean
from dw.workflow.classes import TRUSTED_PACKAGES, diffusers_names, distrust, is_installed
from dw.workflow.problem import Finding
from dw.workflow.references import CONSTANT, constants_in
from dw.workflow.tree import JsonPath, spell_value

LONGEST_NAME = 200
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_OPENERS = ("globals", "setattr")  # with these a module gives itself names


def constant_path(text: str) -> list[str]:
    """Package, modules and attributes of `constant:...`; a bare name is one of diffusers."""
    name = text.removeprefix(CONSTANT)
    return name.split(".") if "." in name else ["diffusers", name]


def judge_constant(text: str, *, trust: bool) -> str | None:
    """What is wrong with `constant:...`, as far as that shows without importing anything."""
    name = text.removeprefix(CONSTANT)
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        return f"a constant is named by identifiers and dots, got {spell_value(text)}"
    package, *_ = path = constant_path(text)
    if not trust and package not in TRUSTED_PACKAGES:
        return distrust(text, name)
    if not trust and any(part.startswith("__") for part in path):
        return f"{text!r} names what is private to Python; --trust allows it"
    if not is_installed(package):
        return f"{text!r} needs the package {package!r}, which is not installed"
    return _judge_value(text, *_found(path))


def check_constants(data: Any, path: JsonPath, *, trust: bool) -> Iterator[Finding]:
    """Every constant in `data`, which stands at `path`."""
    for here, text in constants_in(data):
        if message := judge_constant(text, trust=trust):
            yield Finding((*path, *here), message)


def literals(data: Any, *, trust: bool) -> dict[str, Any]:
    """Each `constant:...` in `data` whose value can be told without importing, and that value."""
    known: dict[str, Any] = {}
    for text in {text for _, text in constants_in(data)}:
        if judge_constant(text, trust=trust) is None:
            known.update((text, value) for value in _literal(*_found(constant_path(text))))
    return known


def _judge_value(text: str, file: Path | None, rest: list[str]) -> str | None:
    """`rest`: the attributes after the module in `file`."""
    if file is None:
        return None
    if not rest:
        return f"{text!r} is a module, not a value"
    if file.name == "__init__.py":
        return _judge_root(rest[0]) if file.parent.name == "diffusers" else None
    module = _module(file)
    if rest[0] in module.callables and len(rest) == 1:
        return f"{text!r} is a function or a class, not a value"
    if rest[0] in module.names or module.is_open:
        return None
    constants = sorted(module.values.keys() - module.callables)
    return f"{file.stem} has no constant {rest[0]!r}{did_you_mean(rest[0], constants)}"


def _judge_root(name: str) -> str | None:
    """Diffusers itself has names of classes and functions only, and its modules."""
    known = diffusers_names()
    if not known or name.islower() or name.startswith("_"):
        return None
    if name in known:
        return f"'constant:{name}' is a function or a class, not a value"
    return f"diffusers has no constant {name!r}; one of a module is written after the module's name"


def _literal(file: Path | None, rest: list[str]) -> Iterator[Any]:
    """The value, if its module writes it out, once."""
    if file is None or len(rest) != 1:
        return
    module, name = _module(file), rest[0]
    if name in module.values and module.names[name] == 1:
        with suppress(ValueError, TypeError):  # it is computed
            yield ast.literal_eval(module.values[name])


def _found(path: list[str]) -> tuple[Path | None, list[str]]:
    """The file of the longest leading part that is a module, and what follows it."""
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


@dataclass(frozen=True)
class _Module:
    """What the text of a module tells of its names."""

    names: Counter[str]  # each name that is defined, and how often
    callables: frozenset[str]  # functions and classes
    values: Mapping[str, ast.expr]  # of the plain assignments
    is_open: bool  # it may have names that its text does not tell


@cache
def _module(file: Path) -> _Module:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, SyntaxError):  # for another Python; the engine will tell
        return _Module(Counter(), frozenset(), {}, is_open=True)
    definitions = [each for each in tree.body if isinstance(each, _DEFINITIONS)]
    names = Counter(name for node in ast.walk(tree) for name in _defined(node))
    return _Module(
        names=names,
        callables=frozenset(each.name for each in definitions),
        values=dict(_assigned(tree.body)),
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
