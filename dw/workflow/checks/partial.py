"""Partial workflows: without the parts whose shape is wrong, so that the rest can be checked.

A mistake in one step then hides none in the others.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dw.workflow.format.model import Step, Workflow
from dw.workflow.json_path import JsonPath, locate

_WHOLE = frozenset({"arguments", "inputs"})
"""Keys without which a step means something else: a step that is wrong here is not checked."""


def partial_workflow(data: dict[str, Any]) -> Workflow:
    """The workflow in `data`, with all steps at their indexes.

    An optional value of the wrong shape is left out; a step with any other error has no action.
    """
    steps = data.get("steps")
    checked = map(_partial_step, steps if isinstance(steps, list) else ())
    return Workflow.model_construct(id=str(data.get("id")), steps=tuple(checked))


def _partial_step(data: Any) -> Step:
    try:
        return Step.model_validate(data)
    except ValidationError as error:
        wrong = [_section(locate(data, detail["loc"])) for detail in error.errors()]
    if all(path and path[-1] not in _WHOLE for path in wrong):
        for path in wrong:
            data = _without(data, path)
        try:
            return Step.model_validate(data)
        except ValidationError:
            pass  # something that is required is missing
    name = data.get("name") if isinstance(data, dict) else None
    return Step.model_construct(name=str(name))


def _section(path: JsonPath) -> JsonPath:
    """The path of the key whose value is wrong or contains a wrong item."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return path


def _without(data: Any, path: JsonPath) -> Any:
    """A copy without the value at `path`, if it is there."""
    first, rest = path[0], path[1:]
    if isinstance(data, list):
        return [_without(item, rest) if n == first else item for n, item in enumerate(data)]
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return {key: _without(item, rest) if key == first else item for key, item in data.items()}
