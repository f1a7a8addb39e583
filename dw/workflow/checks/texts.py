"""Texts: what other programs read in a prompt, and what stands for a value only as a whole text."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.comfyui import is_for_comfyui
from dw.workflow.json_path import JsonPath, walk
from dw.workflow.references import is_reference

_ARGUMENTS = frozenset({"arguments", "inputs"})
_INSIDE = re.compile(r"(?<![\w.])(?:variable|previous_result):[A-Za-z_][\w.]*")
_BRACES = re.compile(r"\$\{\s*(\w+)[^{}]*\}|\{\{\s*(\w+)[^{}]*\}\}|\{(\w+)\}|%(\w+)%")
_NETWORK = re.compile(r"<(lora|lyco|hypernet):([^:<>]+)(?::[^<>]*)?>", re.IGNORECASE)
_EMBEDDING = re.compile(r"(?<!\w)embedding:[\w./-]+", re.IGNORECASE)
_WEIGHT = re.compile(r"\([^()]+:\d*\.\d+\)")


def check_texts(data: Mapping[str, Any], variables: Collection[str]) -> Diagnostics:
    """Warnings about texts in the arguments of the steps in `data`, whose variables are filled in.

    A text is handed on as it is: no part of it is replaced or obeyed. `variables`: the names that
    the workflow declares.
    """
    for path, value in walk(data.get("steps"), ("steps",)):
        if isinstance(value, str) and _is_argument(path) and not is_reference(value):
            for message in _wrong(data, path, value, variables):
                yield DataDiagnostic(path, message, "warning")


def _is_argument(path: JsonPath) -> bool:
    return path[3:4] != () and path[3] in _ARGUMENTS and not is_for_comfyui(path)


def _wrong(
    data: Mapping[str, Any], path: JsonPath, text: str, variables: Collection[str]
) -> Iterator[str]:
    for found in _INSIDE.finditer(text):
        yield f"{found[0]!r} inside a longer text is not replaced: it must be the whole text"
    for found in _BRACES.finditer(text):
        name = next(filter(None, found.groups()))
        if name in variables or found[0].startswith(("${", "{{")):
            yield f"{found[0]!r} is not replaced: a value is the whole text {f'variable:{name}'!r}"
    for found in _NETWORK.finditer(text):
        what = "a LoRA" if found[1].lower() != "hypernet" else "a hypernetwork"
        way = '; write "loras": [{"model_name": ...}] beside \'arguments\''
        yield f"{found[0]!r} is text to the model, not {what}{way if what == 'a LoRA' else ''}"
    for found in _EMBEDDING.finditer(text):
        yield f"{found[0]!r} is text to the model: an embedding is called by its token alone"
    weighted = _WEIGHT.search(text)
    if weighted and path[2] == "pipeline" and not _has_weights(data, path):
        way = "write \"prompt_weighting\": true inside 'configuration'"
        yield f"{weighted[0]!r} is text to the model, not a weight; {way}"


def _has_weights(data: Mapping[str, Any], path: JsonPath) -> bool:
    configuration = data["steps"][path[1]]["pipeline"].get("configuration")
    return isinstance(configuration, dict) and bool(configuration.get("prompt_weighting"))
