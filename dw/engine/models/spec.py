"""Load specs: what must be in memory for a pipeline step. Equal specs are loaded once."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from dw.engine.models.fingerprint import Fingerprint
from dw.engine.patches.weight_keys import Allowed
from dw.engine.python.signatures import constructor_signature

Offload = Literal["model", "sequential", "group", "on_demand"]

DISK = "offload_to_disk_path"
"""The option of group offloading that has it keep weights in files."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a module is kept. An offloaded one is kept in host memory and moves to `device` while
    it runs."""

    device: str
    offload: Offload | None = None
    options: str = "{}"  # further arguments of group offloading, as JSON

    @property
    def is_on_host(self) -> bool:
        return self.device == "cpu" or self.offload is not None

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.options))


@dataclass(frozen=True, slots=True)
class PostLoadChange:
    """A change to a loaded component that cannot be undone (dw.engine.models.modifiers)."""

    name: str
    path: str = ""  # of the module in the component; empty: the component itself
    options: str = "{}"  # its arguments, as JSON
    is_optional: bool = False  # left out, with a warning, where there is no such module

    @property
    def arguments(self) -> dict[str, Any]:
        return dict(json.loads(self.options))


@dataclass(frozen=True, slots=True)
class QuantizationSpec:
    """How weights are quantized while they are loaded (`dw.engine.models.quantization`)."""

    cls: Any
    options: str  # the class's arguments in the workflow, as JSON
    arguments: Mapping[str, Any] = field(compare=False, default_factory=dict)  # resolved


@dataclass(frozen=True, slots=True)
class Nested:
    """A list or an object among the arguments of a loader; `key` is its JSON."""

    key: str
    value: Any = field(compare=False)


LoaderOptions = tuple[tuple[str, Any], ...]


def loader_options(arguments: Mapping[str, Any]) -> LoaderOptions:
    """Arguments of a loader as a part of a load spec, which has a hash."""

    def hashable(value: Any) -> Any:
        if not isinstance(value, list | dict):
            return value
        return Nested(json.dumps(value, sort_keys=True, default=repr), value)

    return tuple((name, hashable(value)) for name, value in arguments.items())


@dataclass(frozen=True, slots=True)
class ComponentSpec:
    """One component to load. Two equal specs give the same object: `fingerprint` stands for the
    bytes in `source`, wherever they are."""

    cls: Any
    fingerprint: Fingerprint
    dtype: torch.dtype | None  # None for what has no weights: tokenizers, processors
    placement: Placement | None
    variant: str | None = None
    part: str | None = None  # the component's name inside a single-file checkpoint
    options: LoaderOptions = ()  # further arguments of the loader
    device_map: str | None = None  # as JSON
    quantization: QuantizationSpec | None = None
    changes: tuple[PostLoadChange, ...] = ()  # in the order in which they are made
    allowed: frozenset[Allowed] = frozenset()  # weights that are not in both, model and file
    source: Path = field(compare=False, default=Path())

    @property
    def is_on_host(self) -> bool:
        """Whether weights are kept in host memory, at least between calls. They are then the file
        itself, mapped, as long as nothing has converted them."""
        return self.placement is not None and (
            self.placement.is_on_host or self.device_map is not None
        )

    @property
    def arguments(self) -> dict[str, Any]:
        return {n: v.value if isinstance(v, Nested) else v for n, v in self.options}


@dataclass(frozen=True, slots=True)
class PlacementPlan:
    """Where the components of a pipeline are kept, and how they are changed after the load."""

    placement: Placement  # of components without one of their own
    own: Mapping[str, Placement] = field(default_factory=dict)
    changes: Mapping[str, tuple[PostLoadChange, ...]] = field(default_factory=dict)

    def of(self, name: str) -> Placement:
        return self.own.get(name, self.placement)


@dataclass(frozen=True, slots=True)
class SchedulerSpec:
    """A scheduler is made anew for every call: it counts steps and keeps history."""

    cls: Any
    config: Mapping[str, Any]


PartSpec = ComponentSpec | SchedulerSpec | None
"""What fills a place of a pipeline; None leaves it empty."""


@dataclass(frozen=True, slots=True)
class SingleFile:
    """A checkpoint that holds a whole pipeline. Its parts are known after its first load.
    `fingerprint` is that of the file and of the configs."""

    cls: Any
    path: Path
    fingerprint: Fingerprint
    config: Path | None  # the folder with the configs of its parts; None: diffusers finds one
    dtype: torch.dtype
    dtypes: Mapping[str, torch.dtype]  # of the parts with another dtype
    options: LoaderOptions = ()  # further arguments of the loader
    allowed: frozenset[Allowed] = frozenset()  # as of a ComponentSpec

    @property
    def content(self) -> tuple[type, Fingerprint, frozenset[Allowed]]:
        """What determines the parts."""
        return self.cls, self.fingerprint, self.allowed

    def part(self, name: str, cls: type, placement_plan: PlacementPlan) -> ComponentSpec:
        has_weights = issubclass(cls, torch.nn.Module)
        return ComponentSpec(
            cls=cls,
            fingerprint=self.fingerprint,
            dtype=self.dtypes.get(name, self.dtype) if has_weights else None,
            placement=placement_plan.of(name) if has_weights else None,
            part=name,
            options=self.options if has_weights else (),
            changes=placement_plan.changes.get(name, ()),
            allowed=self.allowed,
            source=self.path,
        )


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """A pipeline to assemble. `components`: specs by name, None for a part that is left out."""

    cls: Any
    components: Mapping[str, ComponentSpec | None]
    schedulers: Mapping[str, SchedulerSpec]
    scalars: Mapping[str, Any]
    placement_plan: PlacementPlan
    single_file: SingleFile | None = None

    @property
    def placement(self) -> Placement:
        return self.placement_plan.placement

    def build(self, parts: Mapping[str, Any], scalars: Mapping[str, Any]) -> Any:
        """The pipeline around its components and schedulers."""
        left_out = dict.fromkeys(constructor_signature(self.cls).optional)
        return self.cls(**{**left_out, **parts, **scalars})

    def offload(self, pipeline: Any) -> None:
        """Give the assembled pipeline the hooks that move whole models to the device. They are on
        the modules and belong to the pipeline that set them last, so they are set for each call,
        which is cheap."""
        if self.placement.offload == "model":
            pipeline.enable_model_cpu_offload(device=self.placement.device)
