"""ComfyUI: a step that a ComfyUI server does, and the graph that it is sent, in the API format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import Field

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.scalars import Many, Text
from dw.workflow.format.section import Section
from dw.workflow.json_path import JsonPath, spell_value
from dw.workflow.media import is_url
from dw.workflow.substitution import variable_name

IN_UI_FORMAT = (
    "the graph is in the format of ComfyUI's editor; its menu saves the one to run: Export (API)"
)

NO_WORKFLOW = (
    "this is a ComfyUI graph, not a workflow; a step of a workflow has a ComfyUI server run it: "
    '{"name": "draw", "comfyui": {"prompt": "GRAPH.json"}}'
)


class ComfyUI(Section):
    """Has a ComfyUI server run a graph, whose pictures, videos, audio and texts are the results."""

    closed = True

    server: Text | None = Field(
        None, description="http or https URL of the server; default: the setting comfyui"
    )
    prompt: dict[str, Any] | Text = Field(
        description="the graph in the API format, or a file with it, relative to this one"
    )
    inputs: dict[str, Any] = Field(
        default_factory=dict,
        description="values for inputs of nodes, by `NODE.INPUT`; images are uploaded",
    )
    outputs: Many[Text] = Field(
        (), description="ids of the nodes whose files are the results; default: all"
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        server, prompt = data.get("server"), data.get("prompt")
        if isinstance(server, str) and not is_url(server) and variable_name(server) is None:
            message = f"'server' must be a http or https URL, got {spell_value(server)}"
            yield DataDiagnostic(("server",), message)
        if isinstance(prompt, dict):
            yield from check_graph(prompt, data.get("inputs"), data.get("outputs"))


def check_graph(graph: Any, inputs: Any = None, outputs: Any = None) -> Diagnostics:
    """What is wrong with a graph, and with the nodes that `inputs` and `outputs` name. Paths begin
    at the step's action; those of the graph with `prompt`."""
    where: JsonPath = ("prompt",)
    if not isinstance(graph, dict) or not graph:
        yield DataDiagnostic(where, "the graph must be an object of nodes by their ids")
        return
    if isinstance(graph.get("nodes"), list):
        yield DataDiagnostic(where, IN_UI_FORMAT)
        return
    if wrong := list(_check_nodes(graph)):
        yield from wrong
        return
    for name in inputs if isinstance(inputs, dict) else ():
        node, dot, field = str(name).rpartition(".")
        here: JsonPath = ("inputs", name)
        if not dot or not field:
            yield DataDiagnostic(here, f"{name!r} must be NODE.INPUT", at_key=True)
        elif node not in graph:
            yield DataDiagnostic(here, _no_node(node, graph), at_key=True)
        else:
            known = graph[node].get("inputs", {})
            if field not in known and (hint := did_you_mean(field, known)):
                message = f"node {node!r} ({graph[node]['class_type']}) has no input {field!r}"
                yield DataDiagnostic(here, f"{message}{hint}", at_key=True)
    for index, node in enumerate(outputs if isinstance(outputs, list | tuple) else ()):
        if isinstance(node, str) and variable_name(node) is None and node not in graph:
            yield DataDiagnostic(("outputs", index), _no_node(node, graph))


def _check_nodes(graph: Mapping[str, Any]) -> Diagnostics:
    for name, node in graph.items():
        where: JsonPath = ("prompt", name)
        if not isinstance(node, dict) or not isinstance(node.get("class_type"), str):
            yield DataDiagnostic(where, f"node {name!r} needs 'class_type', the class of the node")
        elif not isinstance(node.get("inputs", {}), dict):
            yield DataDiagnostic((*where, "inputs"), f"'inputs' of node {name!r} must be an object")
        else:
            for field, source in links(node):
                if source not in graph:
                    message = f"{field!r} of node {name!r}: {_no_node(source, graph)}"
                    yield DataDiagnostic((*where, "inputs", field), message)


def is_graph(data: Mapping[str, Any]) -> bool:
    """Whether the content of a file is a graph, as it is run or as ComfyUI's editor or its clients
    write it, and no workflow."""
    if "steps" in data:
        return False
    graph = data["prompt"] if isinstance(data.get("prompt"), dict) else data
    nodes = graph["nodes"] if isinstance(graph.get("nodes"), list) else graph.values()
    words = ("class_type", "widgets_values")
    return any(isinstance(node, dict) and not node.keys().isdisjoint(words) for node in nodes)


def links(node: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The inputs of a node that come from another one, and that one's id."""
    for field, value in node.get("inputs", {}).items():
        if is_link(value):
            yield field, value[0]


def is_for_comfyui(path: JsonPath) -> bool:
    """Whether a value of a workflow is ComfyUI's: its keys, `class_type` or `weight_dtype`, name
    nothing of Python."""
    return path[2:3] == ("comfyui",)


def is_link(value: Any) -> bool:
    """Whether it is `[NODE, OUTPUT]`."""
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], str)
        and type(value[1]) is int
    )


def _no_node(node: str, graph: Mapping[str, Any]) -> str:
    return f"there is no node {node!r}{did_you_mean(node, graph) or f'; there are {_some(graph)}'}"


def _some(graph: Mapping[str, Any]) -> str:
    names = list(graph)
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
