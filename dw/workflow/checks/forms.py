"""Forms: the object that is meant by a word in its place, as in `"vae": "owner/model"`."""

from __future__ import annotations

import json
import re
from typing import Any

from dw.vocabulary import scheduler_form, way_of
from dw.workflow.checks.keys import sections
from dw.workflow.format.construction import is_class_key
from dw.workflow.format.model import Workflow
from dw.workflow.format.pipeline import Component, Pipeline, Scheduler
from dw.workflow.format.placement import Quantization
from dw.workflow.format.section import Section
from dw.workflow.json_path import JsonPath
from dw.workflow.paths import WEIGHTS

_OPEN = {"arguments": "prompt", "from_pretrained_arguments": "model_name"}
"""Objects without a model, and the key that a word in their place stands for."""

_CLASS = re.compile(r"([a-z_]\w*\.)*[A-Z]\w*[a-z]\w*")
_LONGEST = 300  # characters of a form that a message shows


def form_hint(path: JsonPath, value: Any, *, as_list: bool) -> str:
    """What to write for a word, or for one object in the place of a list, as the end of a sentence;
    nothing where that is not known.

    >>> form_hint(("steps", 0, "result"), "image/png", as_list=False)
    '; write "result": {"content_type": "image/png"}'
    """
    key = path[-1] if path else ""
    model = _model_at(path)
    if isinstance(value, str) and value:
        is_scheduler = model is Scheduler
        if is_scheduler and (written := scheduler_form(value)):
            return f"; write {written.replace('scheduler', str(key), 1)}"
        if model is Quantization and (way := way_of(value)):
            return way
        form = {_OPEN[key]: value} if key in _OPEN else _form(model, value) if model else None
    else:
        form = value if as_list and isinstance(value, dict) else None
    if not form:
        return ""
    text = json.dumps([form] if as_list else form, ensure_ascii=False)
    named = text if isinstance(key, int) else f"{json.dumps(key)}: {text}"
    return f"; write {named}" if len(named) <= _LONGEST else ""


def _model_at(path: JsonPath) -> type[Section] | None:
    """The model of the object, or of the objects in the list, that belongs there."""
    model: type[Section] | None = Workflow
    for part in path:
        if isinstance(part, str) and model is not None:
            inner = sections(model).get(part)
            is_component = inner is None and model is Pipeline and part not in model.model_fields
            model = Component if is_component else inner
    return model


def _form(model: type[Section], value: str) -> dict[str, Any]:
    """The least that an object of the format says, with `value` where it belongs."""
    is_class = _CLASS.fullmatch(value) is not None
    if model is Scheduler:
        return {"configuration": {"scheduler_type": value}}
    found: dict[str, Any] = {}
    for key, field in model.model_fields.items():
        inner = sections(model).get(key)
        if not field.is_required():
            continue
        if inner is not None:
            found[key] = _form(inner, value)
        elif key == "from_pretrained_arguments":
            source = "from_single_file" if value.endswith(WEIGHTS) else "model_name"
            found[key] = {source: "..." if is_class else value}
        elif key == "arguments":
            found[key] = {"prompt": "..."}
        else:
            is_here = is_class if is_class_key(key) else not is_class
            found[key] = value if is_here or len(model.model_fields) == 1 else "..."
    return found
