"""Inputs: the values that a caller gives to a workflow, checked all at once, and their JSON Schema.

The texts and error types are those that clients of job services know: the first problem is the
answer, in the order in which the workflow declares its variables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from dw.errors import UsageError, did_you_mean
from dw.seeds import MAX_SEED
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.input import Input, is_number, matches
from dw.workflow.variables import convert, is_pending

if TYPE_CHECKING:
    from dw.workflow.document import Document

JSON_TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_PYTHON_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "string": str,
    "array": list,
    "object": dict,
}


@dataclass(frozen=True, slots=True)
class InputProblem:
    """`name` is the variable, `error_type` a name such as `missing_field` or `prompt_too_long`."""

    name: str
    error_type: str
    message: str


class InvalidInputs(UsageError):
    """Values that do not fit, with every problem."""

    def __init__(self, problems: Iterable[InputProblem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(each.message for each in self.problems))
        self.error_type = self.problems[0].error_type


def check_inputs(document: Document, given: Mapping[str, Any]) -> tuple[InputProblem, ...]:
    """Every problem of the values that a caller gives. A value of null counts as missing."""
    limits, required = document.inputs, document.required
    problems: list[InputProblem] = []
    for name, default in document.variables.items():
        if (value := given.get(name)) is not None:
            problems += value_problems(name, default, value, limits.get(name))
        elif name in required:
            message = f"Missing required field: {name!r}"
            problems.append(InputProblem(name, "missing_field", message))
    known = (*document.variables, "seed")
    problems += [
        InputProblem(name, "unknown_field", f"unknown field {name!r}{did_you_mean(name, known)}")
        for name in given
        if name not in known
    ]
    return tuple(problems)


def check_defaults(data: Mapping[str, Any]) -> Diagnostics:
    """Defaults that do not fit the limits of their own inputs, unless they never count."""
    variables, required = data.get("variables"), data.get("required") or ()
    limits = declared_inputs(data.get("inputs"))
    for name, default in variables.items() if isinstance(variables, Mapping) else ():
        if name in limits and name not in required:
            for problem in _limit_problems(name, default, limits[name]):
                message = f"the default does not fit the input of {name!r}: {problem.message}"
                yield DataDiagnostic(("variables", name), message)


def converted(name: str, default: Any, value: Any, limits: Input | None) -> Any:
    """`value` as the type of `default`, within its limits. Raises UsageError: InvalidInputs for
    one beyond them."""
    converted = convert(name, default, value)
    if limits is not None and (problems := _limit_problems(name, converted, limits)):
        raise InvalidInputs(problems)
    return converted


def value_problems(
    name: str, default: Any, value: Any, limits: Input | None
) -> Sequence[InputProblem]:
    """What is wrong with one value that is not null."""
    try:
        converted(name, default, value, limits)
    except InvalidInputs as error:
        return error.problems
    except UsageError as error:
        return [InputProblem(name, "invalid_type", error.message)]
    return ()


def _limit_problems(name: str, value: Any, limits: Input) -> list[InputProblem]:
    if value is None or is_pending(value):  # a file that is read later
        return []
    title = limits.title or name.replace("_", " ").capitalize()
    if limits.type and not _has_type(value, limits.type):
        message = f"{title} must be of the type {limits.type}"
        return [InputProblem(name, "invalid_type", message)]
    if isinstance(value, str):
        return _text_problems(name, title, value, limits)
    return _value_problems(name, title, value, limits)


def _text_problems(name: str, title: str, text: str, limits: Input) -> list[InputProblem]:
    if limits.minLength and not text.strip():
        return [InputProblem(name, f"{name}_empty", f"{title} cannot be empty")]
    if limits.minLength is not None and len(text) < limits.minLength:
        message = f"{title} is too short. Minimum length: {limits.minLength} characters"
        return [InputProblem(name, f"{name}_too_short", message)]
    if limits.maxLength is not None and len(text) > limits.maxLength:
        message = f"{title} is too long. Maximum length: {limits.maxLength} characters"
        return [InputProblem(name, f"{name}_too_long", message)]
    if limits.pattern is not None and not matches(limits.pattern, text):
        message = f"{title} contains invalid characters"
        return [InputProblem(name, f"{name}_invalid_format", message)]
    return _value_problems(name, title, text, limits)


def _value_problems(name: str, title: str, value: Any, limits: Input) -> list[InputProblem]:
    if limits.enum is not None and value not in limits.enum:
        listed = ", ".join(map(repr, limits.enum))
        message = f"{title} must be one of {listed}, got {value!r}"
    elif not is_number(value):
        return []
    elif limits.minimum is not None and value < limits.minimum:
        message = f"{title} must be at least {limits.minimum:g}, got {value!r}"
    elif limits.maximum is not None and value > limits.maximum:
        message = f"{title} must be at most {limits.maximum:g}, got {value!r}"
    else:
        return []
    return [InputProblem(name, "invalid_value", message)]


def declared_inputs(data: Any) -> dict[str, Input]:
    """The limits of each variable that has some; those of a wrong shape, which validation tells,
    limit nothing."""
    found: dict[str, Input] = {}
    for name, fragment in data.items() if isinstance(data, dict) else ():
        try:
            found[name] = Input.model_validate(fragment)
        except ValidationError:
            continue
    return found


def arguments_schema(document: Document) -> dict[str, Any]:
    """The JSON Schema of the values that a caller may give."""
    limits, required = document.inputs, document.required
    properties: dict[str, Any] = {}
    for name, default in document.variables.items():
        kind = {"type": JSON_TYPES[type(default)]} if type(default) in JSON_TYPES else {}
        limit = limits[name].model_dump(exclude_none=True) if name in limits else {}
        is_optional = name not in required and default is not None
        properties[name] = kind | limit | ({"default": default} if is_optional else {})
    if "seed" not in properties:
        properties["seed"] = {"type": "integer", "minimum": 0, "maximum": MAX_SEED}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": document.id,
        **({"description": document.description} if document.description else {}),
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


def _has_type(value: Any, name: str) -> bool:
    if name != "boolean" and isinstance(value, bool):
        return False
    return isinstance(value, _PYTHON_TYPES[name])
