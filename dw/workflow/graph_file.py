"""Graph files: the ComfyUI graph that a step names, in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dw import text_files
from dw.errors import WorkflowError
from dw.text_files import NotUtf8
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.comfyui import check_graph
from dw.workflow.json_path import JsonPath
from dw.workflow.jsonc import JsonError, line_column, parse_json
from dw.workflow.references import is_reference


def graph_files(data: Any) -> Iterator[tuple[JsonPath, str, Mapping[str, Any]]]:
    """The path and name of each graph file, and the `comfyui` of its step."""
    steps = data.get("steps")
    for index, step in enumerate(steps if isinstance(steps, list) else ()):
        action = step.get("comfyui") if isinstance(step, dict) else None
        if not isinstance(action, dict):
            continue
        name = action.get("prompt")
        if isinstance(name, str) and not is_reference(name):
            yield ("steps", index, "comfyui", "prompt"), name, action


def read_graph_file(path: Path, name: str) -> Any:
    """What the file at `path` holds, which the workflow calls `name`. Raises WorkflowError for one
    that cannot be read or is no JSON."""
    try:
        text = text_files.read_text(path)
    except (OSError, NotUtf8) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise WorkflowError(f"cannot read the graph {name!r}: {reason}") from error
    try:
        return parse_json(text).data
    except JsonError as error:
        line, column = line_column(text, error.offset)
        reason = f"line {line}, column {column}: {error.message}"
        raise WorkflowError(f"cannot read the graph {name!r}: {reason}") from error


def check_graph_file(
    where: JsonPath, path: Path, name: str, action: Mapping[str, Any]
) -> Diagnostics:
    """What is wrong with the graph in a file, and with what its step names of it."""
    try:
        graph = read_graph_file(path, name)
    except WorkflowError as error:
        yield DataDiagnostic(where, error.message)
        return
    for each in check_graph(graph, action.get("inputs"), action.get("outputs")):
        if each.path[0] == "prompt":
            yield DataDiagnostic(where, f"{name!r}: {each.message}")
        else:
            yield DataDiagnostic((*where[:-1], *each.path), each.message, at_key=each.at_key)
