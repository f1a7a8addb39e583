"""The tables of docs/workflows.md, and the JSON Schema: what the models say of the format."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from dw.workflow.outline import all_sections, keys_of
from dw.workflow.schema import json_schema
from dw.workflow.section import Section


def reference() -> str:
    """A table of keys for each section of the format."""
    return "\n\n".join(_table(model) for model in all_sections())


def _table(model: type[Section]) -> str:
    """Each section under its name, with what its class says of it."""
    rows = [
        f"| `{key.name}` | {_linked(key.kind)} | {key.default} | {key.description} |"
        for key in keys_of(model)
    ]
    doc = [" ".join(model.__doc__.split())] if model.__doc__ and model.__doc__.strip() else []
    head = ["| key | type | default | is |", "| --- | --- | --- | --- |"]
    return "\n\n".join([f"### {model.__name__}", *doc, "\n".join([*head, *rows])])


def _linked(kind: str) -> str:
    names = {model.__name__ for model in all_sections()}
    return " ".join(f"[{w}](#{w.lower()})" if w in names else w for w in kind.split())


def commands() -> str:
    """The commands of task steps: what they take, and the first sentence of what they say."""
    rows = [
        f"| `{name}` | {_arguments(command)} | {_sentence(command.function.__doc__)} |"
        for name, command in registry().items()
    ]
    return "\n".join(["| command | takes | does |", "| --- | --- | --- |", *rows])


def _arguments(command: Any) -> str:
    if command.takes_whole:
        return "anything"
    shown = []
    for name, parameter in command.parameters.items():
        is_plain = isinstance(parameter.default, bool | int | float | str)
        shown.append(f"`{name}={parameter.default}`" if is_plain else f"`{name}`")
    return ", ".join(shown)


def _sentence(doc: str | None) -> str:
    return inspect.cleandoc(doc or "").split("\n\n")[0].replace("\n", " ").replace("|", "\\|")


@cache
def registry() -> Mapping[str, Any]:
    import dw.engine  # noqa: F401  # first of all, see there
    from dw.engine.tasks.registry import commands as registered

    return registered()


def schema() -> str:
    """The text of dw/workflow/schema.json."""
    names = {name: [*command.parameters] for name, command in registry().items()}
    return json.dumps(json_schema(names), indent=1, ensure_ascii=False) + "\n"
