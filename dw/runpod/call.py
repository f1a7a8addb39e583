"""Calls: what the input of a RunPod job asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from dw.errors import did_you_mean
from dw.workflow.inputs import InputProblem, InvalidInputs

ENVELOPE = ("workflow", "arguments", "seed", "timeout_s")
SHARED = ("inputs", "workflow", "timeout_s")


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a workflow. `timeout_s`: how long it may execute."""

    workflow: str
    arguments: Mapping[str, Any]
    seed: Any = None
    timeout_s: float | None = None


@dataclass(frozen=True, slots=True)
class Default:
    """The workflow of inputs that name none, and its variables."""

    workflow: str
    variables: Collection[str]


def is_batch(given: Any, default: Default | None) -> bool:
    """Whether an input holds several calls: `{"inputs": [...]}`."""
    is_variable = default is not None and "inputs" in default.variables
    return isinstance(given, dict) and "inputs" in given and not is_variable


def unwrapped(given: Any) -> Any:
    """The client puts an empty input into a second `input`."""
    if isinstance(given, dict) and given.keys() == {"input"}:
        return given["input"]
    return given


def calls_of(given: Any, default: Default | None) -> list[Call | InvalidInputs]:
    """The calls of an input, in order; of a batch also those that are refused.

    Raises InvalidInputs where the input as a whole is wrong.
    """
    if not is_batch(given, default):
        return [call_of(given, default)]
    _refuse_unknown(given, SHARED, 'the arguments belong into the objects of "inputs"')
    inputs = given["inputs"]
    if not isinstance(inputs, list) or not inputs:
        raise _wrong("inputs", "inputs must be a list of at least one object")
    timeout_s = _timeout(given)
    if (workflow := given.get("workflow")) is not None:
        _require_text("workflow", workflow)
        default = Default(workflow, ())
    calls: list[Call | InvalidInputs] = []
    for each in inputs:
        try:
            call = call_of(each, default)
            calls.append(
                Call(call.workflow, call.arguments, call.seed, call.timeout_s or timeout_s)
            )
        except InvalidInputs as error:
            calls.append(error)
    return calls


def call_of(given: Any, default: Default | None) -> Call:
    """The call of `{"workflow", "arguments", "seed", "timeout_s"}`, or of the arguments alone
    where there is a default workflow. Raises InvalidInputs."""
    if not isinstance(given, dict):
        raise _wrong("input", f"input must be an object, got {given!r:.80}")
    variables = default.variables if default else ()
    is_envelope = any(key in given and key not in variables for key in ("workflow", "arguments"))
    if default is not None and not is_envelope:
        return Call(default.workflow, given)
    _refuse_unknown(given, ENVELOPE, 'the arguments belong into "arguments"')
    workflow = given.get("workflow") or (default.workflow if default else None)
    if workflow is None:
        problem = InputProblem("workflow", "missing_field", "Missing required field: 'workflow'")
        raise InvalidInputs([problem])
    _require_text("workflow", workflow)
    arguments = given.get("arguments")
    arguments = {} if arguments is None else arguments
    if not isinstance(arguments, dict):
        raise _wrong("arguments", f"arguments must be an object, got {arguments!r:.80}")
    return Call(workflow, arguments, given.get("seed"), _timeout(given))


def _timeout(given: Mapping[str, Any]) -> float | None:
    value = given.get("timeout_s")
    if value is None:
        return None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 < value < float("inf"):
        message = f"timeout_s must be a number of seconds above 0, got {value!r}"
        raise InvalidInputs([InputProblem("timeout_s", "invalid_value", message)])
    return float(value)


def _require_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise _wrong(name, f"{name} must be a string, got {value!r:.80}")


def _refuse_unknown(given: Mapping[str, Any], known: Collection[str], where: str) -> None:
    if unknown := [name for name in given if name not in known]:
        raise InvalidInputs(
            InputProblem(
                name, "unknown_field", f"unknown field {name!r}{did_you_mean(name, known)}; {where}"
            )
            for name in unknown
        )


def _wrong(name: str, message: str) -> InvalidInputs:
    return InvalidInputs([InputProblem(name, "invalid_type", message)])
