"""The JSON codec: commands and events as flat JSON objects, in both directions.

The pipes between shell and worker and the lines of `--json` use it. Reading checks every name and
every type, so that what comes out is a message as events.py declares it, or nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.events import COMMANDS, EVENTS, Command, Event, LogLine, RunCancelled, RunTimedOut

if TYPE_CHECKING:
    from pydantic import TypeAdapter

WIRE_NAMES: Mapping[type[Any], str] = {
    LogLine: "Said",
    RunCancelled: "Cancelled",
    RunTimedOut: "TimedOut",
}
"""Names that readers of `--json` know; every other message goes by the name of its class."""

_CLASSES = {WIRE_NAMES.get(each, each.__name__): each for each in (*COMMANDS, *EVENTS)}


def to_json(message: Command | Event) -> dict[str, Any]:
    """The message as one flat JSON object with its name under `event`."""
    name = WIRE_NAMES.get(type(message)) or type(message).__name__
    return {"event": name, **asdict(message)}


def from_json(fields: Any) -> Command | Event:
    """The message of a JSON object. Raises ValueError, with a reason, when it is not a message."""
    from pydantic import ValidationError  # 40 ms, which the prompt must not wait for

    if not isinstance(fields, dict):
        raise ValueError(f"a message is a JSON object, not a {type(fields).__name__}")
    name = fields.get("event")
    if not isinstance(name, str) or name not in _CLASSES:
        raise ValueError(f"unknown message {name!r}")
    values = {key: value for key, value in fields.items() if key != "event"}
    try:
        message: Command | Event = _adapter(_CLASSES[name]).validate_python(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, [name, *first["loc"]]))
        raise ValueError(f"{place}: {first['msg']}") from None
    return message


def to_bytes(message: Command | Event) -> bytes:
    """The message for a pipe. Raises ValueError or TypeError when a value has no JSON."""
    return json.dumps(to_json(message), allow_nan=False, default=_path_text).encode()


def from_bytes(data: bytes) -> Command | Event:
    """The message that `to_bytes` wrote. Raises ValueError, with a reason, for anything else."""
    try:
        fields = json.loads(data, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("JSON is nested too deeply") from None
    return from_json(fields)


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON serializable")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


@cache
def _adapter(message: type[Any]) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(message)
