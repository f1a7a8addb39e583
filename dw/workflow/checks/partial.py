"""What is left of a workflow when what has the wrong shape is taken out of it.

The installed classes can judge that much, so that a slip in one step hides nothing in the others.
"""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from dw.workflow.format.model import Step, Workflow
from dw.workflow.json_path import JsonPath, locate

_WHOLE = frozenset({"arguments", "inputs"})
"""Without these a step asks for something else, and what would be said of it would be wrong."""


def partial_workflow(data: dict[str, Any]) -> Workflow:
    """The workflow that `data` is, with its steps in their places.

    An optional value of the wrong shape is left out; a step that cannot be without does nothing.
    """
    steps = data.get("steps")
    audio = map(_sound_step, steps if isinstance(steps, list) else ())
    return Workflow.model_construct(id=str(data.get("id")), steps=tuple(audio))


def _sound_step(data: Any) -> Step:
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
    """The key whose value is wrong, or holds a wrong item."""
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
