"""Steps whose class is no pipeline of diffusers: models and processors of transformers, and
`transformers.pipeline`. They are loaded once and kept, as components are, and then called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import transformers

from dw.engine.models.dtypes import given_dtype
from dw.engine.models.live_models import modules
from dw.engine.models.source import HUB_OPTIONS, refuse_pickles
from dw.engine.models.spec import ComponentSpec, PartSpec, PipelineSpec, PlacementPlan
from dw.engine.python.signatures import has_weights
from dw.errors import WorkflowError
from dw.rehearsal import stand_in_model
from dw.workflow.format.pipeline import Pipeline

if TYPE_CHECKING:
    from dw.engine.models.planner import Planner

PIPELINE = "pipeline"
"""The name of transformers' function that makes a pipeline for a task."""

SOURCES = ("model_name", "from_single_file", "model")
_NOT_PASSED_ON = (*SOURCES, *HUB_OPTIONS, "subfolder", "torch_dtype", "dtype", "variant")

_STAND_INS = (
    (r"Tokenizer", "AutoTokenizer", "language"),
    (r"ForCausalLM$", "AutoModelForCausalLM", "language"),
    (r"Processor$", "AutoProcessor", "vision_language"),
    (
        r"For(ConditionalGeneration|Vision2Seq|ImageTextToText)$",
        "AutoModelForImageTextToText",
        "vision_language",
    ),
    (r"ForDepthEstimation$", "AutoModelForDepthEstimation", "depth"),
)
"""By the name of a class: the one that takes its place in a rehearsal, and the tiny model of it."""

_TASKS = {
    "text-generation": "language",
    "image-text-to-text": "vision_language",
    "depth-estimation": "depth",
}


@dataclass(frozen=True, slots=True)
class TransformersSpec(PipelineSpec):
    """Something to call: loaded as a whole, under the name of its class, or made of components."""

    def build(self, parts: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
        if self.cls.__name__ in parts:
            return parts[self.cls.__name__]
        device = {"device": self.placement.device} if self.cls.__name__ == PIPELINE else {}
        return self.cls(**device, **scalars, **parts)


def transformers_spec(
    cls: Any,
    pipeline: Pipeline,
    planner: Planner,
    layout: PlacementPlan,
    own: Mapping[str, PartSpec],
) -> TransformersSpec:
    """The load spec; `own` are the components beside its configuration. Without a model it is made
    of them. Raises RunFailed or WorkflowError when there is no such model."""
    arguments = pipeline.from_pretrained_arguments
    options = {n: v for n, v in arguments.items() if n not in _NOT_PASSED_ON}
    device_map = options.pop("device_map", None)
    if not any(name in arguments for name in SOURCES):
        return TransformersSpec(cls, own, {}, options, layout)  # type: ignore[arg-type]
    if cls.__name__.startswith("Auto") or cls.__name__ == PIPELINE:
        # Always said, as some would ask at the terminal.
        runs_code = planner.trust and arguments.get("trust_remote_code") is True
        options["trust_remote_code"] = runs_code
    if planner.rehearse:
        cls, source = _stand_in(cls, arguments.get("task"))
    else:
        source = _find(arguments, planner)
        if has_weights(cls) and not planner.trust:
            refuse_pickles(source)
    weighs = has_weights(cls)
    spec = ComponentSpec(
        cls=cls,
        fingerprint=planner.sources.fingerprint(source),
        dtype=given_dtype(pipeline) if weighs else None,  # else the one of its files
        placement=layout.placement if weighs else None,
        source=source,
        options=tuple(options.items()),
        device_map=None if device_map is None else json.dumps(device_map, sort_keys=True),
        quantization=planner.quantization(cls.__name__, pipeline.quantization) if weighs else None,
    )
    return TransformersSpec(cls, {cls.__name__: spec}, {}, {}, layout)


def on_its_device(target: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their tensors where the model is; those that are no indices, in its
    dtype."""
    model: Any = next(modules(target), None)
    if model is None:
        return dict(arguments)

    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)

    return {name: moved(value) for name, value in arguments.items()}


def _find(arguments: Mapping[str, Any], planner: Planner) -> Path:
    hub = {name: arguments[name] for name in HUB_OPTIONS if name in arguments}
    sources, access = planner.sources, planner.access
    if (file := arguments.get("from_single_file")) is not None:
        return sources.file(str(file), None, access=access, options=hub)
    name = str(arguments.get("model_name") or arguments.get("model"))
    return sources.component(name, arguments.get("subfolder"), access=access, options=hub)


def _stand_in(cls: Any, task: Any) -> tuple[Any, Path]:
    """What takes the place of a class in a rehearsal, and the folder that it is loaded from."""
    if cls.__name__ == PIPELINE and task in _TASKS:
        return cls, stand_in_model(_TASKS[task])
    for pattern, name, kind in _STAND_INS:
        if re.search(pattern, cls.__name__):
            return getattr(transformers, name), stand_in_model(kind)
    what = f"the task {task!r}" if cls.__name__ == PIPELINE else cls.__name__
    raise WorkflowError(f"{what} cannot be rehearsed: there is no stand-in for it")
