"""The workflow files under examples/, taken apart into the objects of the format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from dw.workflow.checks.keys import is_mapping, sections
from dw.workflow.format.model import Workflow
from dw.workflow.format.section import Section
from dw.workflow.jsonc import parse_json

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 100  # characters of a line
LONGEST = 16  # lines of an excerpt


@dataclass(frozen=True)
class Excerpt:
    """An object of the format as it stands in an example: under `key`, with what is around it."""

    model: type[Section]
    data: dict[str, Any]
    key: str = ""
    around: Any = None

    @property
    def text(self) -> str:
        return f"{json.dumps(self.key)}: {_spelled(self.around)}"

    @property
    def fullness(self) -> tuple[int, int]:
        return len(self.data), -len(self.text)


@cache
def documents() -> dict[str, Any]:
    """The data of each example, by its path from the root."""
    paths = sorted((ROOT / "examples").rglob("*.json"))
    return {
        path.relative_to(ROOT).as_posix(): parse_json(path.read_text(encoding="utf-8")).data
        for path in paths
    }


def objects(data: Any, model: type[Section] = Workflow) -> Iterator[Excerpt]:
    """The objects of the format in an object, itself first."""
    yield Excerpt(model, data)
    inner = {**sections(model), **model.nested(data)}
    for key, value in data.items():
        if key in inner:
            yield from _inside(key, value, model, inner[key])


def _inside(key: str, value: Any, owner: type[Section], model: type[Section]) -> Iterator[Excerpt]:
    """What one key holds: an object of the format, a list of them, or some by name."""
    if isinstance(value, list):
        held = [([item], item) for item in value]
    elif key in owner.model_fields and is_mapping(owner, key):
        held = [({name: item}, item) for name, item in value.items()]
    else:
        held = [(value, value)]
    for around, item in held:
        if isinstance(item, dict):
            itself, *others = objects(item, model)
            yield Excerpt(model, itself.data, key, around)
            yield from others


def excerpts() -> dict[type[Section], tuple[str, Excerpt]]:
    """For each section the fullest object in the examples that is short enough, and its file."""
    found: dict[type[Section], tuple[str, Excerpt]] = {}
    for path, data in documents().items():
        for each in objects(data):
            best = found.get(each.model)
            is_fuller = best is None or each.fullness > best[1].fullness
            if each.key and each.text.count("\n") < LONGEST and is_fuller:
                found[each.model] = (path, each)
    return found


def _spelled(value: Any, indent: str = "") -> str:
    """JSON as a person writes it: on one line what fits there."""
    line = json.dumps(value, ensure_ascii=False)
    if len(indent) + len(line) < WIDTH - 20 or not isinstance(value, dict | list):
        return line
    inner = f"{indent}  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(key)}: {_spelled(item, inner)}" for key, item in value.items()]
    else:
        parts = [_spelled(item, inner) for item in value]
    begin, end = "{}" if isinstance(value, dict) else "[]"
    return f"{begin}\n{inner}" + f",\n{inner}".join(parts) + f"\n{indent}{end}"
