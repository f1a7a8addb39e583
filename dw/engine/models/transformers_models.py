"""Models of transformers as steps: models, processors, and `transformers.pipeline`. They are loaded
once, kept like components, and called.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers

from dw.engine.models.component_files import check_component
from dw.engine.models.context import LoadContext
from dw.engine.models.dtypes import given_dtype
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.live_models import modules
from dw.engine.models.quantization import quantization_of
from dw.engine.models.source import HUB_OPTIONS
from dw.engine.models.spec import (
    ComponentSpec,
    PartSpec,
    PipelineSpec,
    PlacementPlan,
    loader_options,
)
from dw.engine.patches.weight_keys import KEYS, allowed_by
from dw.engine.python.signatures import has_weights
from dw.errors import WorkflowError
from dw.rehearsal import stand_in_model
from dw.workflow.format.construction import without_braces
from dw.workflow.format.pipeline import Pipeline

PIPELINE = "pipeline"
"""The name of transformers' function that makes a pipeline for a task."""

SOURCES = ("model_name", "from_single_file", "model")
_NOT_PASSED_ON = (*SOURCES, *HUB_OPTIONS, "subfolder", "torch_dtype", "dtype", "variant", *KEYS)

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
"""By the name of a class: the class that replaces it in a rehearsal, and its tiny model."""

_TASKS = {
    "text-generation": "language",
    "image-text-to-text": "vision_language",
    "depth-estimation": "depth",
}


@dataclass(frozen=True, slots=True)
class TransformersSpec(PipelineSpec):
    """Something to call: loaded whole, under the name of its class, or made of components."""

    def build(self, parts: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
        if self.cls.__name__ in parts:
            return parts[self.cls.__name__]
        device = {"device": self.placement.device} if self.cls.__name__ == PIPELINE else {}
        return self.cls(**device, **scalars, **parts)


def transformers_spec(
    cls: Any,
    pipeline: Pipeline,
    context: LoadContext,
    placement_plan: PlacementPlan,
    own: Mapping[str, PartSpec],
) -> TransformersSpec:
    """The load spec. `own`: the components beside its configuration; without a model it is made of
    them. Raises RunFailed or WorkflowError when there is no such model."""
    arguments = pipeline.from_pretrained_arguments
    options = without_braces({n: v for n, v in arguments.items() if n not in _NOT_PASSED_ON})
    device_map = options.pop("device_map", None)
    if not any(name in arguments for name in SOURCES):
        return TransformersSpec(cls, own, {}, options, placement_plan)  # type: ignore[arg-type]
    if cls.__name__.startswith("Auto") or cls.__name__ == PIPELINE:
        # Always given: without it some would ask at the terminal.
        runs_code = context.trust and arguments.get("trust_remote_code") is True
        options["trust_remote_code"] = runs_code
    if context.rehearse:
        cls, source = _stand_in(cls, arguments.get("task"))
    else:
        source = _find(arguments, context)
        if has_weights(cls):
            variant = arguments.get("variant")
            pickles = check_component(
                source, variant, cls=cls, trust=context.trust, warn=context.warn
            )
            files = {"variant": variant} if variant is not None else {}
            files |= {"use_safetensors": False} if pickles else {}
            if cls.__name__ == PIPELINE and files:
                options["model_kwargs"] = {**options.get("model_kwargs", {}), **files}
            else:
                options |= files
    weighs = has_weights(cls)
    spec = ComponentSpec(
        cls=cls,
        fingerprint=Fingerprint.of(source),
        dtype=given_dtype(pipeline) if weighs else None,  # else that of its files
        placement=placement_plan.placement if weighs else None,
        source=source,
        options=loader_options(options),
        device_map=None if device_map is None else json.dumps(device_map, sort_keys=True),
        quantization=quantization_of(cls.__name__, pipeline.quantization, context)
        if weighs
        else None,
        allowed=allowed_by(arguments),
    )
    return TransformersSpec(cls, {cls.__name__: spec}, {}, {}, placement_plan)


def on_its_device(target: Any, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with their tensors on the model's device, those of floats in its dtype."""
    model: Any = next(modules(target), None)
    if model is None:
        return dict(arguments)

    def moved(value: Any) -> Any:
        if not isinstance(value, torch.Tensor):
            return value
        return value.to(model.device, model.dtype if value.is_floating_point() else value.dtype)

    return {name: moved(value) for name, value in arguments.items()}


def _find(arguments: Mapping[str, Any], context: LoadContext) -> Path:
    hub = {name: arguments[name] for name in HUB_OPTIONS if name in arguments}
    sources, access = context.sources, context.access
    if (file := arguments.get("from_single_file")) is not None:
        return sources.file(str(file), None, access=access, options=hub)
    name = str(arguments.get("model_name") or arguments.get("model"))
    return sources.component(name, arguments.get("subfolder"), access=access, options=hub)


def _stand_in(cls: Any, task: Any) -> tuple[Any, Path]:
    """What replaces a class in a rehearsal, and the folder that it is loaded from."""
    if cls.__name__ == PIPELINE and task in _TASKS:
        return cls, stand_in_model(_TASKS[task])
    for pattern, name, kind in _STAND_INS:
        if re.search(pattern, cls.__name__):
            return getattr(transformers, name), stand_in_model(kind)
    what = f"the task {task!r}" if cls.__name__ == PIPELINE else cls.__name__
    raise WorkflowError(f"{what} cannot be rehearsed: it has no stand-in")
