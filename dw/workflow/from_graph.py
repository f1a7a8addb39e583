"""A workflow of one ComfyUI graph: its texts, seeds and sizes become variables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dw.workflow.format.comfyui import is_link

_TEXTS = ("text", "prompt", "text_g", "text_l", "clip_l", "clip_g", "t5xxl", "negative_prompt")
_SEEDS = ("seed", "noise_seed")
_SIZES = ("width", "height")

Graph = Mapping[str, Mapping[str, Any]]


def workflow_of(graph: Graph, name: str, *, server: str | None = None) -> dict[str, Any]:
    """The workflow `name` of a graph that `check_graph` has passed. Inputs that are alike in kind
    and value share a variable; a further value gets `_NODE` behind its name."""
    variables: dict[str, Any] = {}
    inputs: dict[str, str] = {}
    negative = set(_above(graph, "negative")) - set(_above(graph, "positive"))
    for node, what in graph.items():
        for field, value in what.get("inputs", {}).items():
            variable = _variable(field, value, is_negative=node in negative)
            if variable is None:
                continue
            if variables.setdefault(variable, value) != value:
                variable = f"{variable}_{node.replace(':', '_')}"
                variables.setdefault(variable, value)
            inputs[f"{node}.{field}"] = f"variable:{variable}"
    action = {"server": server} if server else {}
    draw = {"name": "draw", "comfyui": {**action, "prompt": dict(graph), "inputs": inputs}}
    result = {"content_type": _content_type(graph)}
    return {"id": name, "variables": variables, "steps": [{**draw, "result": result}]}


def _variable(field: str, value: Any, *, is_negative: bool) -> str | None:
    if field in _TEXTS and isinstance(value, str):
        return "negative_prompt" if is_negative or field == "negative_prompt" else "prompt"
    if type(value) is not int:
        return None
    return "seed" if field in _SEEDS else field if field in _SIZES else None


def _above(graph: Graph, field: str) -> Iterator[str]:
    """The nodes from which some node's input `field` comes."""
    waiting = [what.get("inputs", {}).get(field) for what in graph.values()]
    seen: set[str] = set()
    while waiting:
        value = waiting.pop()
        if is_link(value) and value[0] not in seen:
            seen.add(value[0])
            yield value[0]
            waiting += graph[value[0]].get("inputs", {}).values()


def _content_type(graph: Graph) -> str:
    saving = [what["class_type"].lower() for what in graph.values()]
    if any("savevideo" in each or "videocombine" in each or "webm" in each for each in saving):
        return "video/mp4"
    return "audio/wav" if any("saveaudio" in each for each in saving) else "image/png"
