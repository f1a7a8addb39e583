"""What changed between two contents of a workflow's files, and what that costs the next run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dw.console.watched_files import Content
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.short_text import as_text, in_one_line
from dw.terminal.messages import display_path
from dw.workflow.media import media_places
from dw.workflow.paths import WEIGHTS, models_in, resolve

LISTED = 3
"""Changes that are named; of more their number."""

_OF_CALLS = ("arguments", "loras", "ip_adapters", "scheduler", "seed", "cache")
"""Keys of a pipeline that load no model when they change."""


def files_of(workflow: OpenWorkflow) -> set[Path]:
    """The files and folders here that a run with these arguments reads."""
    document = workflow.document
    data = document.filled(workflow.overrides)
    found = {document.path.absolute()}
    for _, name in (*media_places(data), *models_in(data)):
        path = resolve(name, document.path.parent).absolute()
        if path.exists():
            found.add(path)
    for child in document.children.values():
        found |= files_of(OpenWorkflow(child))
    return found


def change_line(before: Content, after: Content, old: OpenWorkflow, new: OpenWorkflow) -> str:
    """`shapes.json: draw.arguments.num_inference_steps 25 → 30; no model is loaded`"""
    files = [path for path, digest in after.items() if before.get(path) != digest]
    edits: list[str] = []
    loads = {path.name for path in files if path.suffix in WEIGHTS}
    if new.path.absolute() in files:
        for path, was, now in _differences(
            old.document.filled(old.overrides), new.document.filled(new.overrides)
        ):
            shown = [name for name in path if name not in ("steps", "pipeline")]
            edits.append(f"{'.'.join(shown)} {_shown(was)} → {_shown(now)}")
            if len(path) > 3 and path[0] == "steps" and path[2] == "pipeline":
                loads |= set() if path[3] in _OF_CALLS else {f"step {path[1]}"}
    names = ", ".join(display_path(path) for path in files[:LISTED])
    more = f" and {len(files) - LISTED} more" if len(files) > LISTED else ""
    text = names + more
    if edits:
        text += f": {', '.join(edits[:LISTED])}"
        text += f" and {len(edits) - LISTED} more" if len(edits) > LISTED else ""
    cost = f"loads again: {', '.join(sorted(loads))}" if loads else "no model is loaded again"
    return f"{text}; {cost}"


def _shown(value: Any) -> str:
    return "nothing" if value is _NOTHING else in_one_line(as_text(value))


_NOTHING = object()


def _differences(old: Any, new: Any) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    """The path of each value that differs, with steps by their names; without the variables, whose
    values are in the places that use them."""
    was, now = (dict(_leaves(each, ())) for each in (old, new))
    for path in dict.fromkeys((*was, *now)):
        if path[0] not in ("variables", "inputs") and was.get(path) != now.get(path):
            yield path, was.get(path, _NOTHING), now.get(path, _NOTHING)


def _leaves(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            yield from _leaves(each, (*path, str(key)))
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            name = each.get("name") if isinstance(each, Mapping) else None
            yield from _leaves(each, (*path, str(name or index)))
    else:
        yield path, value
