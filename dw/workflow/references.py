"""References: `variable:NAME`, `constant:NAME` and `previous_result:STEP[.PROPERTY]`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.construction import FROM_RESULT, construction
from dw.workflow.json_path import JsonPath, spell_path, walk
from dw.workflow.substitution import variable_name

CONSTANT = "constant:"
PREVIOUS = "previous_result:"
_TAKES_RESULTS = {
    ("pipeline", "arguments"),
    ("pipeline_reference", "arguments"),
    ("task", "arguments"),
    ("task", "inputs"),
    ("comfyui", "inputs"),
    ("workflow", "arguments"),
    ("pipeline", "chain", "prompts"),
    ("pipeline_reference", "chain", "prompts"),
}
_FIXED = {("name",), ("workflow", "path")}  # other steps and the loader go by these


def split_previous_result(text: str, steps: Iterable[str]) -> tuple[str, str | None] | None:
    """Step and property of `previous_result:...`; None when it names none of `steps`.

    Names of steps may contain dots: the longest one that matches is meant.
    """
    rest = text.removeprefix(PREVIOUS)
    fitting = [name for name in steps if rest == name or rest.startswith(f"{name}.")]
    if not fitting:
        return None
    step = max(fitting, key=len)
    return step, rest[len(step) + 1 :] or None


def result_references(data: Any) -> Iterator[tuple[JsonPath, str]]:
    """The path and text of each `previous_result:...` in `data`, in document order. Under
    `from_previous_result` a step is named without the prefix; the text has it nevertheless."""
    for path, value in walk(data):
        if isinstance(value, str) and value.startswith(PREVIOUS):
            yield path, value
            continue
        found = construction(value)
        source = found.source if found and found.constructor == FROM_RESULT else None
        if isinstance(source, str) and not is_reference(source):
            yield (*path, FROM_RESULT), f"{PREVIOUS}{source}"


def variable_uses(data: Any) -> dict[JsonPath, str]:
    """The path of each `variable:NAME` to NAME."""
    if not isinstance(data, dict):
        return {}
    used = ((path, variable_name(value)) for path, value in walk(data) if isinstance(value, str))
    return {path: name for path, name in used if name is not None}


def variable_at(path: JsonPath, uses: Mapping[JsonPath, str]) -> str | None:
    """The variable that gave the value at `path`, or a value around it."""
    ends = range(len(path), 0, -1)
    return next((uses[path[:end]] for end in ends if path[:end] in uses), None)


def is_constant(text: str) -> bool:
    """Whether the text names a Python value. Prose such as `constant: a hum` does not."""
    return text.startswith(CONSTANT) and not any(map(str.isspace, text))


def constants_in(data: Any) -> Iterator[tuple[JsonPath, str]]:
    """The path and text of each `constant:...`."""
    return ((p, v) for p, v in walk(data) if isinstance(v, str) and is_constant(v))


def is_reference(text: str) -> bool:
    """Whether the text refers to a value that is not known yet."""
    return text.startswith(PREVIOUS) or variable_name(text) is not None or is_constant(text)


def check_variables(data: dict[str, Any], uses: Mapping[JsonPath, str]) -> Diagnostics:
    """Undeclared variables, and variables where none is allowed."""
    declared = data.get("variables", {})
    if not isinstance(declared, dict):
        return
    for path, name in uses.items():
        if path[0] in ("id", "variables") or path[2:] in _FIXED:
            yield DataDiagnostic(path, f"{spell_path(path)} cannot be a variable")
        elif name not in declared:
            known = f"declared are {', '.join(declared)}" if declared else "none is declared"
            hint = did_you_mean(name, declared) or f"; {known}"
            yield DataDiagnostic(path, f"unknown variable {name!r}{hint}")


def check_steps(data: dict[str, Any]) -> Diagnostics:
    """Step names given twice, and results of unknown steps, later steps or the step itself."""
    steps = data.get("steps")
    if not isinstance(steps, list):
        return
    names = [step.get("name") if isinstance(step, dict) else None for step in steps]
    for index, name in enumerate(names):
        if isinstance(name, str) and name in names[:index]:
            yield DataDiagnostic(("steps", index, "name"), f"there are two steps called {name!r}")
    for index, step in enumerate(steps):
        for path, text in result_references(step):
            yield from _check_previous(("steps", index, *path), text, names)


def _check_previous(path: JsonPath, text: str, names: Sequence[Any]) -> Diagnostics:
    if not any(path[2 : 2 + len(place)] == place for place in _TAKES_RESULTS):
        message = "cannot be a result: only 'arguments' and 'inputs' take results"
        yield DataDiagnostic(path, f"{spell_path(path)} {message}")
        return
    index = path[1]
    assert isinstance(index, int)
    known = [name for name in names if isinstance(name, str)]
    found = split_previous_result(text, known)
    if found is None:
        name = text.removeprefix(PREVIOUS)
        hint = did_you_mean(name, known) or did_you_mean(name.split(".")[0], known)
        yield DataDiagnostic(path, f"unknown step {name!r}{hint}")
    elif found[0] == names[index]:
        yield DataDiagnostic(path, f"step {found[0]!r} cannot use its own result")
    elif found[0] not in names[:index]:
        message = (
            f"step {found[0]!r} runs after step {names[index]!r}; its result does not exist yet"
        )
        yield DataDiagnostic(path, message)
