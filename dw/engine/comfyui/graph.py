"""The graph of a step: read, with its inputs set, and compared with what the server has."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

from dw.engine.comfyui.client import Client
from dw.engine.files.access import FileAccess
from dw.errors import RunFailed, WorkflowError, did_you_mean
from dw.workflow.format.comfyui import ComfyUI, check_graph, is_link
from dw.workflow.graph_file import read_graph_file
from dw.workflow.json_path import spell_value

Graph = dict[str, Any]

_MOST = 12  # choices that a message lists


def read_graph(action: ComfyUI, access: FileAccess) -> Graph:
    """The graph, from its file where it has one. Raises RunFailed unless it is one."""
    graph: Any = action.prompt
    if isinstance(graph, str):
        try:
            graph = read_graph_file(access.path(graph), graph)
        except WorkflowError as error:
            raise RunFailed(error.message) from error
    if problems := list(check_graph(graph, action.inputs, action.outputs)):
        raise RunFailed("; ".join(each.message for each in problems))
    return copy.deepcopy(dict(graph))


def require_known(graph: Graph, client: Client, *, but: set[tuple[str, str]]) -> None:
    """Raises RunFailed for classes and choices that the server does not have. `but`: inputs whose
    values are yet to come, as (node, input)."""
    known: dict[str, Mapping[str, Any]] = {}
    problems: list[str] = []
    for node, what in graph.items():
        name = what["class_type"]
        if name not in known:
            known[name] = client.node_class(name)
        if not known[name]:
            hint = did_you_mean(name, client.node_classes())
            problems.append(f"node {node!r}: the server has no class {name!r}{hint}")
            continue
        given = {k: v for k, v in what.get("inputs", {}).items() if (node, k) not in but}
        for field, value, allowed in _not_allowed(given, known[name]):
            problems.append(wrong_choice(node, name, field, value, allowed))
    if problems:
        raise RunFailed("; ".join(problems))


def _not_allowed(
    given: Mapping[str, Any], node_class: Mapping[str, Any]
) -> Iterator[tuple[str, Any, list[Any]]]:
    groups = node_class.get("input", {})
    specs = {**groups.get("required", {}), **groups.get("optional", {})}
    for field, value in given.items():
        allowed = _choices(specs.get(field))
        if allowed is not None and not is_link(value) and value not in allowed:
            yield field, value, allowed


def _choices(spec: Any) -> list[Any] | None:
    """The choices of an input: `[[...], {}]`, or `["COMBO", {"options": [...]}]`."""
    if not isinstance(spec, list) or not spec:
        return None
    if isinstance(spec[0], list):
        return spec[0]
    options = spec[1].get("options") if spec[0] == "COMBO" and len(spec) > 1 else None
    return options if isinstance(options, list) else None


def wrong_choice(node: str, name: str, field: str, value: Any, allowed: list[Any]) -> str:
    place = f"node {node!r} ({name}): {field!r} cannot be {spell_value(value)}"
    names = [str(each) for each in allowed]
    if not names:
        return f"{place}: the server has none"
    if isinstance(value, str) and (hint := did_you_mean(value, names, cutoff=0.5)):
        return f"{place}{hint}"
    listed = ", ".join(names[:_MOST]) + (", ..." if len(names) > _MOST else "")
    return f"{place}; allowed are {listed}"
