"""Constants: `constant:NAME`, a value of a Python module, checked and read without importing it.

The source of the module is read instead (5 ms; importing diffusers takes seconds). A value that is
not a literal stays a name until the engine imports it.
"""

from __future__ import annotations

import ast
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from dw.errors import did_you_mean
from dw.extras import is_installed
from dw.workflow.checks.classes import diffusers_names, distrust
from dw.workflow.checks.modules import module_error
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import JsonPath, spell_value
from dw.workflow.module_source import find_module, read_module
from dw.workflow.references import CONSTANT, constants_in

LONGEST_NAME = 200
_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def constant_path(text: str) -> list[str]:
    """Package, modules and attributes of `constant:...`; a bare name is one of diffusers."""
    name = text.removeprefix(CONSTANT)
    return name.split(".") if "." in name else ["diffusers", name]


def constant_error(text: str, *, trust: bool) -> str | None:
    """The error for `constant:...`, as far as it shows without importing anything."""
    name = text.removeprefix(CONSTANT)
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        return f"a constant is named by identifiers and dots, got {spell_value(text)}"
    package, *_ = path = constant_path(text)
    if not trust and (message := distrust(text, name, module_error(package))):
        return message
    if not trust and any(part.startswith("_") for part in path):
        return f"{text!r} names a private attribute of Python; the setting 'trust' allows it"
    if not is_installed(package):
        return f"{text!r} needs the package {package!r}, which is not installed"
    file, rest = find_module(path)
    if not trust and (message := distrust(text, name, module_error(module_of(path, rest)))):
        return message
    return _value_error(text, file, rest)


def module_of(path: list[str], rest: list[str]) -> str:
    """The dotted name of the module in the path of a constant, whose attributes are `rest`."""
    return ".".join(path[: len(path) - len(rest)])


def check_constants(data: Any, path: JsonPath, *, trust: bool) -> Diagnostics:
    """Wrong constants in `data`, which is at `path`."""
    for here, text in constants_in(data):
        if message := constant_error(text, trust=trust):
            yield DataDiagnostic((*path, *here), message)


def literals(data: Any, *, trust: bool) -> dict[str, Any]:
    """Each `constant:...` in `data` whose value is a literal in its module, and that value."""
    known: dict[str, Any] = {}
    for text in {text for _, text in constants_in(data)}:
        if constant_error(text, trust=trust) is not None:
            continue
        file, rest = find_module(constant_path(text))
        if file is None or len(rest) != 1:
            continue
        module, name = read_module(file), rest[0]
        if name in module.values and module.names[name] == 1:  # it is assigned once
            with suppress(ValueError, TypeError):  # it is computed
                known[text] = ast.literal_eval(module.values[name])
    return known


def _value_error(text: str, file: Path | None, rest: list[str]) -> str | None:
    """`rest`: the attributes after the module in `file`."""
    if file is None:
        return None
    if not rest:
        return f"{text!r} is a module, not a value"
    if file.name == "__init__.py":
        return _diffusers_error(rest[0]) if file.parent.name == "diffusers" else None
    module = read_module(file)
    if rest[0] in module.callables and len(rest) == 1:
        return f"{text!r} is a function or a class, not a value"
    if rest[0] in module.names or module.is_open:
        return None
    constants = sorted(module.values.keys() - module.callables)
    return f"{file.stem} has no constant {rest[0]!r}{did_you_mean(rest[0], constants)}"


def _diffusers_error(name: str) -> str | None:
    """The error for a name of diffusers itself: that package has modules, classes and functions."""
    known = diffusers_names()
    if not known or name.islower() or name.startswith("_"):
        return None
    if name in known:
        return f"'constant:{name}' is a function or a class, not a value"
    return f"diffusers has no constant {name!r}; one of a module is written after the module's name"
