"""The tables of docs/workflows.md, and the JSON Schema: what the models say of the format."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from docs.examples import ROOT, Excerpt, excerpts
from docs.format_outline import all_sections, further, keys_of
from docs.json_schema import json_schema
from dw.workflow.checks.keys import gathered_sections, sections
from dw.workflow.format.section import Section
from dw.workflow.jsonc import parse_json

# What a section is in a file is plain without one, or the page begins with it.
WITHOUT_EXCERPT = {"Workflow", "Step", "SchedulerConfiguration", "QuantizationConfiguration"}


def reference() -> str:
    """A table of keys for each section of the format."""
    shown = excerpts()
    return "\n\n".join(_table(model, shown.get(model)) for model in all_sections())


def _table(model: type[Section], excerpt: tuple[str, Excerpt] | None) -> str:
    """Each section under its name, with what its class says of it, where it stands, and how it
    looks in an example."""
    rows = [
        f"| `{key.name}` | {_linked(key.kind)} | {key.default} | {key.description} |"
        for key in keys_of(model)
    ]
    rows += [f"| *NAME* | {_linked(key.kind)} |  | {key.description} |" for key in further(model)]
    head = ["| key | type | default | is |", "| --- | --- | --- | --- |"]
    parts = [f"### {model.__name__}", " ".join((model.__doc__ or "").split()), _places(model)]
    parts += ["\n".join([*head, *rows])]
    if excerpt and model.__name__ not in WITHOUT_EXCERPT:
        path, shown = excerpt
        parts += [f"```json\n{shown.text}\n```", f"from [{path}](../{path})"]
    return "\n\n".join(filter(None, parts))


def _places(model: type[Section]) -> str:
    """Under which keys of which sections it stands."""
    owners: dict[str, list[str]] = {}
    for owner in all_sections():
        keys = [f"`{key}`" for key, inner in sections(owner).items() if inner is model]
        keys += ["its own name"] if model in gathered_sections(owner) else []
        if keys:
            owners.setdefault(", ".join(keys), []).append(_linked(owner.__name__))
    places = [f"{keys} of {', '.join(names)}" for keys, names in owners.items()]
    return f"Stands under {'; '.join(places)}." if places else ""


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


def builtins() -> str:
    """The workflows that come with dw: what they take, and what they say of themselves."""
    rows = []
    for path in sorted((ROOT / "dw" / "builtin").glob("*.json")):
        data = parse_json(path.read_text(encoding="utf-8")).data
        taken = ", ".join(f"`{name}`" for name in data.get("variables", {}))
        rows.append(f"| `builtin:{path.name}` | {taken} | {data['description']} |")
    return "\n".join(["| path | takes | does |", "| --- | --- | --- |", *rows])


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
