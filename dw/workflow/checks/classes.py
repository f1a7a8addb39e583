"""Classes: names of Python objects in a workflow, checked without importing them.

A bare name is looked up among the public names of the installed diffusers, read from the text of
its `__init__.py` (1 ms; importing it costs seconds). A dotted name must lie in one of the known
modules, because resolving it imports that module; of what kind the class is, the engine judges.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dw.errors import did_you_mean
from dw.extras import missing_package
from dw.vocabulary import sampler_hint
from dw.workflow.checks.modules import DTYPES, TRUSTED_PACKAGES, class_error, module_error
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.comfyui import is_for_comfyui
from dw.workflow.format.construction import (
    CONSTRUCTORS,
    FROM_ARGUMENTS,
    FROM_FILE,
    FROM_RESULT,
    Construction,
    construction,
    is_class_key,
    is_dtype_key,
    is_type_key,
)
from dw.workflow.json_path import JsonPath, spell_value, walk
from dw.workflow.media import extension_error
from dw.workflow.references import PREVIOUS, is_reference

_ABBREVIATIONS = {
    "fp8": "float8_e4m3fn",
    "float8": "float8_e4m3fn",
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp64": "float64",
}
_NEAR_CLASS = 0.8  # names of classes are long and share their endings
_CLASS_KEYS = frozenset({"component_type", "scheduler_type"})
_OPTIONAL_KEYS = frozenset({"config_type", "quant_type"})  # of quantization
_MODULES = "pre_load_modules"
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
_QUOTED_NAME = re.compile(r'"([A-Z]\w+)"')


def check_classes(data: dict[str, Any], *, trust: bool) -> Diagnostics:
    """Types and dtypes in the steps of a workflow, and the objects that they construct."""
    for path, value in walk(data.get("steps"), ("steps",)):
        if is_for_comfyui(path):
            continue
        if isinstance(value, dict):
            yield from _check_construction(path, value)
        elif message := _name_error(path, value, trust=trust):
            yield DataDiagnostic(path, message)
        elif message := _missing_optional(path, value):
            yield DataDiagnostic(path, message, "warning")


def _check_construction(path: JsonPath, value: dict[str, Any]) -> Diagnostics:
    types = [key for key in value if is_class_key(key)]
    made = [key for key in CONSTRUCTORS if key in value]
    if not made or (made == [FROM_FILE] and not types):
        return  # not an object to construct
    for key in made[1:]:
        message = f"an object is made one way: {made[0]!r} is given, so {key!r} is not allowed"
        yield DataDiagnostic((*path, key), message, at_key=True)
    for key in types[1:]:
        message = f"an object has one class: {types[0]!r} is given, so {key!r} is not allowed"
        yield DataDiagnostic((*path, key), message, at_key=True)
    if not types:
        message = f"{made[0]!r} needs a class beside it, under a key such as 'reference_type'"
        yield DataDiagnostic((*path, made[0]), message, at_key=True)
    if (found := construction(value)) is not None:
        for diagnostic in _check_source(found):
            yield diagnostic.below(path)


def _check_source(found: Construction) -> Diagnostics:
    """Errors within one object; paths begin at it."""
    key, source = found.constructor, found.source
    if key == FROM_ARGUMENTS:
        is_open = isinstance(source, str) and is_reference(source)
        if not isinstance(source, dict) and not is_open:
            yield DataDiagnostic((key,), f"{key!r} must be an object, got {spell_value(source)}")
        for name in found.extra:
            message = f"{name!r} is not allowed beside {key!r}; arguments go inside"
            yield DataDiagnostic((name,), message, at_key=True)
    elif not isinstance(source, str) or not source:
        yield DataDiagnostic((key,), f"{key!r} must be a string, got {spell_value(source)}")
    elif key == FROM_FILE:
        yield from _check_file(found)
    elif source.startswith(PREVIOUS):
        yield DataDiagnostic((key,), f"{key!r} is the bare name of a step, without {PREVIOUS!r}")


def _check_file(found: Construction) -> Diagnostics:
    for path, value in walk({found.constructor: found.source, **found.extra}):
        if isinstance(value, str) and value.startswith(PREVIOUS):
            message = f"{FROM_FILE!r} does not take results; {FROM_RESULT!r} does"
            yield DataDiagnostic(path, message)
    wrong = None if is_reference(found.source) else extension_error(found.source)
    if wrong is not None:
        yield DataDiagnostic((found.constructor,), wrong)


def _name_error(path: JsonPath, value: Any, *, trust: bool) -> str | None:
    if not isinstance(value, str) or is_reference(value):
        return None
    key = path[-1]
    if _is_module(path):  # which is imported because it registers something
        if not _DOTTED.fullmatch(value):
            return f"{spell_value(value)} is not the name of a module"
        return None if trust else distrust(_MODULES, value, module_error(value))
    if len(path) > 1 and is_dtype_key(str(path[-2])):  # dtypes of components by name
        return _dtype_error(str(key), value)
    if not isinstance(key, str) or not is_type_key(key):
        return None
    if value.startswith("{") and value.endswith("}") and key not in _CLASS_KEYS:
        return None  # braces make it a plain string
    return _dtype_error(key, value) if is_dtype_key(key) else _class_error(key, value, trust=trust)


def _missing_optional(path: JsonPath, name: Any) -> str | None:
    """The warning for a missing package that a run needs and a rehearsal does not."""
    is_optional = _is_module(path) or path[-1] in _OPTIONAL_KEYS
    if not is_optional or not isinstance(name, str) or not _DOTTED.fullmatch(name):
        return None
    is_known = name.partition(".")[0] in TRUSTED_PACKAGES
    return missing_package(name) if is_known else None


def _is_module(path: JsonPath) -> bool:
    return len(path) > 1 and path[-2] == _MODULES


def _class_error(key: str, name: str, *, trust: bool) -> str | None:
    if not _DOTTED.fullmatch(name):
        hint = sampler_hint(name) if key == "scheduler_type" else ""
        if key not in _CLASS_KEYS:
            hint = f"; a plain string is written {spell_value(f'{{{name}}}')}"
        return f"{key!r} must name a class, got {spell_value(name)}{hint}"
    package, _, rest = name.partition(".")
    if not rest:
        return _diffusers_error(key, name)
    if not trust and (message := distrust(key, name, class_error(name))):
        return message
    if package not in TRUSTED_PACKAGES:
        return None
    if key not in _OPTIONAL_KEYS and (message := missing_package(name)):
        return message
    if package == "diffusers" and "." not in rest:
        return _diffusers_error(key, rest)
    return None


def _dtype_error(key: str, name: str) -> str | None:
    package, _, dtype = name.rpartition(".")
    if package == "torch" and dtype in DTYPES:
        return None
    near = get_close_matches(_ABBREVIATIONS.get(dtype, dtype), sorted(DTYPES), n=1)
    got = f"got {spell_value(name)}"
    if near:
        return f"{key!r} must be a torch dtype, {got} (did you mean 'torch.{near[0]}'?)"
    return f"{key!r} must be a torch dtype such as torch.bfloat16, {got}"


def _diffusers_error(key: str, name: str) -> str | None:
    known = diffusers_names()
    if not known or name in known:
        return None
    message = f"{key!r}: diffusers has no class {name!r}"
    if key == "scheduler_type" and (hint := sampler_hint(name)):
        return message + hint
    if hint := did_you_mean(name, sorted(known), cutoff=_NEAR_CLASS):
        return message + hint
    if key in _CLASS_KEYS:
        return f"{message}; one of another package is written 'transformers.{name}'"
    return f"{message}; a plain string is written '{{{name}}}'"


def distrust(key: str, name: str, error: str | None) -> str | None:
    """The message for a name that only the user's trust allows; None without an error."""
    return error and f"{key!r} would import {name!r}, {error}; the setting 'trust' allows it"


@cache
def diffusers_names() -> frozenset[str]:
    """The public classes of the installed diffusers; empty when it is not installed."""
    spec = find_spec("diffusers")
    if spec is None or spec.origin is None:
        return frozenset()
    return frozenset(_QUOTED_NAME.findall(Path(spec.origin).read_text(encoding="utf-8")))
