"""The models of commands: declared in parts, and then loaded, kept, reported and freed as the
components of pipelines are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dw.engine.models.source import refuse_pickles
from dw.engine.models.spec import ComponentSpec, Placement
from dw.errors import RunFailed, TrustWorkflow
from dw.rehearsal import stand_in_model

if TYPE_CHECKING:
    from dw.engine.models.planner import Planner


@dataclass(frozen=True, slots=True)
class TaskPart:
    """One model of a command, or the processor beside it, and where it comes from."""

    cls: Any  # with from_pretrained, or from_single_file when it is read from `files`
    source: str | None  # a hub id or a folder; with `files` also a file; None: it has no weights
    stand_in: str | type  # the tiny model, or the class, that takes its place in a rehearsal
    files: tuple[str | None, ...] = ()  # what is needed of the source; none: what loaders read
    has_weights: bool = True
    is_large: bool = False  # in half precision on a GPU
    options: tuple[tuple[str, Any], ...] = ()  # further arguments of the loader
    remote_code: bool = False  # its Python comes from the hub, too


TaskParts = Mapping[str, TaskPart]


class TaskModels:
    """The `cls` of the specs of commands: their parts are used as they are, not wired."""


def part_spec(part: TaskPart, planner: Planner, placement: Placement) -> ComponentSpec:
    """What must be in memory for a part. Raises RunFailed when there is no such model."""
    is_half = part.is_large and not placement.device.startswith("cpu")
    spec = ComponentSpec(part.cls, fingerprint="", dtype=None, placement=None, options=part.options)
    if part.has_weights:
        dtype = torch.bfloat16 if is_half else torch.float32
        spec = replace(spec, dtype=dtype, placement=placement)
    return _rehearsed(spec, part, planner) if planner.rehearse else _found(spec, part, planner)


def _rehearsed(spec: ComponentSpec, part: TaskPart, planner: Planner) -> ComponentSpec:
    if isinstance(part.stand_in, type):
        name = Path(part.source or "", *filter(None, part.files))
        return replace(spec, cls=part.stand_in, fingerprint=str(name), source=name)
    source = stand_in_model(part.stand_in)
    return replace(spec, fingerprint=planner.sources.fingerprint(source), source=source)


def _found(spec: ComponentSpec, part: TaskPart, planner: Planner) -> ComponentSpec:
    """The spec with its weights, which may be downloaded for it."""
    sources, access = planner.sources, planner.access
    if part.source is None:
        return spec
    if part.remote_code and not planner.trust:
        raise RunFailed(
            f"the model {part.source!r} brings Python code of its own",
            hints=[TrustWorkflow("you trust it")],
        )
    if part.files:
        paths = [sources.file(part.source, name, access=access, options={}) for name in part.files]
        prints = "-".join(map(sources.fingerprint, paths))
        return replace(spec, fingerprint=prints, source=paths[0])
    source = sources.component(part.source, None, access=access, options={})
    if part.has_weights and not planner.trust:
        refuse_pickles(source)
    return replace(spec, fingerprint=sources.fingerprint(source), source=source)


def modules(models: Mapping[str, Any]) -> list[torch.nn.Module]:
    return [model for model in models.values() if isinstance(model, torch.nn.Module)]


@contextmanager
def visiting(models: Mapping[str, Any], placement: Placement) -> Iterator[None]:
    """Have models that live in host memory, for want of room, on the device for one call."""
    visitors = [] if placement.offload is None else modules(models)
    try:
        for module in visitors:
            module.to(placement.device)
        yield
    finally:
        for module in visitors:
            module.to("cpu")
