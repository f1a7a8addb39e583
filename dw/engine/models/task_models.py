"""Models of tasks: load specs of the parts that a task declares. They are loaded, kept, reported
and freed as the components of pipelines are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from dw.engine.models.component_files import check_component
from dw.engine.models.context import LoadContext
from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.spec import ComponentSpec, Placement
from dw.engine.tasks.parts import TaskPart
from dw.errors import RunFailed, TrustWorkflow
from dw.rehearsal import stand_in_model


class TaskModels:
    """The `cls` of the specs of tasks: their parts are used as they are, not assembled."""


def part_spec(part: TaskPart, context: LoadContext, placement: Placement) -> ComponentSpec:
    """The load spec of a part. Raises RunFailed when there is no such model."""
    is_half = part.is_large and not placement.device.startswith("cpu")
    none = Fingerprint("")
    spec = ComponentSpec(part.cls, none, dtype=None, placement=None, options=part.options)
    if part.has_weights:
        dtype = torch.bfloat16 if is_half else torch.float32
        spec = replace(spec, dtype=dtype, placement=placement)
    return _rehearsed(spec, part) if context.rehearse else _found(spec, part, context)


def _rehearsed(spec: ComponentSpec, part: TaskPart) -> ComponentSpec:
    if isinstance(part.stand_in, type):
        name = Path(part.source or "", *filter(None, part.files))
        return replace(spec, cls=part.stand_in, fingerprint=Fingerprint(str(name)), source=name)
    source = stand_in_model(part.stand_in)
    return replace(spec, fingerprint=Fingerprint.of(source), source=source)


def _found(spec: ComponentSpec, part: TaskPart, context: LoadContext) -> ComponentSpec:
    """The spec with its weights; may download them."""
    sources, access = context.sources, context.access
    if part.source is None:
        return spec
    if part.remote_code and not context.trust:
        raise RunFailed(
            f"the model {part.source!r} brings Python code of its own",
            hints=[TrustWorkflow("you trust it")],
        )
    if part.files:
        paths = [sources.file(part.source, name, access=access, options={}) for name in part.files]
        return replace(spec, fingerprint=Fingerprint.of(*paths), source=paths[0])
    source = sources.component(part.source, None, access=access, options={})
    if part.has_weights:
        check_component(source, cls=part.cls, trust=context.trust, warn=context.warn)
    return replace(spec, fingerprint=Fingerprint.of(source), source=source)


def modules(models: Mapping[str, Any]) -> list[torch.nn.Module]:
    return [model for model in models.values() if isinstance(model, torch.nn.Module)]


@contextmanager
def visiting(models: Mapping[str, Any], placement: Placement) -> Iterator[None]:
    """Move models that are kept in host memory to the device for one call."""
    visitors = [] if placement.offload is None else modules(models)
    try:
        for module in visitors:
            module.to(placement.device)
        yield
    finally:
        for module in visitors:
            module.to("cpu")
