"""From what a workflow says of a pipeline to its load spec. Loads no weights; may download them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.engine.calls.ip_adapter import Adapted, find_ip_adapter
from dw.engine.calls.loras import LoraAdapter, find_adapter
from dw.engine.device import Device
from dw.engine.files.access import FileAccess
from dw.engine.models.cache import StepRequirement
from dw.engine.models.placement_plan import OFFLOADS, PlacementPlanner
from dw.engine.models.quantization import (
    cannot_rehearse,
    quantization_spec,
)
from dw.engine.models.source import Sources
from dw.engine.models.spec import (
    Offload,
    PartSpec,
    PipelineSpec,
    Placement,
    PlacementPlan,
    QuantizationSpec,
)
from dw.engine.models.spec_builder import SpecBuilder
from dw.engine.models.task_models import TaskModels, TaskParts, part_spec
from dw.engine.python import resolve
from dw.engine.tasks import models_of
from dw.errors import RunFailed, UsageError
from dw.extras import missing_package
from dw.rehearsal import stand_in
from dw.workflow.format.model import Task
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.format.placement import Quantization


@dataclass(frozen=True)
class Planner:
    """Makes load specs for one run: on one device, for files beside one workflow."""

    sources: Sources
    access: FileAccess
    device: Device
    find_device: Callable[[str], Device]
    warn: Callable[[str], None]
    rehearse: bool = False
    offload: Offload | None = None  # of every pipeline on a GPU that has none, or less
    _known: dict[int, tuple[Pipeline, PipelineSpec]] = field(default_factory=dict)
    _of_tasks: dict[Any, PipelineSpec] = field(default_factory=dict)

    @property
    def trust(self) -> bool:
        return self.access.permissions.trust

    def beside(self, folder: Path) -> Planner:
        """The planner for a workflow that lies in `folder`."""
        return replace(self, access=replace(self.access, folder=folder))

    def cheaper(self) -> Planner | None:
        """One that puts less on the GPU than this one had planned; None when there is no less."""
        layouts = [spec.layout for _, spec in self._known.values()]
        # What the workflow places by hand is left where it is.
        placements = [layout.placement for layout in layouts if not layout.own]
        placements += [spec.placement for spec in self._of_tasks.values()]
        used = [
            OFFLOADS.index(p.offload)
            for p in placements
            if p.device == self.device.spec and p.offload in OFFLOADS
        ]
        rest = OFFLOADS[min(used, default=len(OFFLOADS)) + 1 :]
        if self.device.kind != "cuda" or not rest:
            return None
        return replace(self, offload=rest[0], _known={}, _of_tasks={})

    def pipeline(
        self, pipeline: Pipeline, sharers: Mapping[str, Pipeline] = MappingProxyType({})
    ) -> PipelineSpec:
        """The load spec, made once for each object. `sharers`: of the components that it reuses.

        Raises RunFailed or WorkflowError when there is no such model or it does not fit the class.
        """
        if id(pipeline) not in self._known:
            for module in _modules_to_import(pipeline):
                self._import(module)
            reused = {n: self.shared(each, n) for n, each in sharers.items()}
            planner = self if self.needs_stand_in(pipeline) else replace(self, rehearse=False)
            draft = SpecBuilder(planner, pipeline, self._layouts.layout(pipeline), reused)
            self._known[id(pipeline)] = (pipeline, draft.spec())
        return self._known[id(pipeline)][1]

    def shared(self, pipeline: Pipeline, name: str) -> PartSpec:
        """A component of a pipeline, for another one. Raises RunFailed when it has none."""
        spec = self.pipeline(pipeline)
        parts = {**spec.components, **spec.schedulers}
        if name not in parts and spec.single_file is not None:
            raise RunFailed(
                f"{name!r} cannot be shared out of a single file",
                hints=[f"name it as a component of its own, {name!r} beside 'configuration'"],
            )
        if parts.get(name) is None:
            raise RunFailed(f"{name!r} cannot be shared: {spec.cls.__name__} has none here")
        return parts[name]

    def adapters(self, pipeline: Pipeline) -> list[LoraAdapter]:
        """The LoRAs that the pipeline should have; downloads their files."""
        if not pipeline.loras:
            return []
        folder = self.stand_in(pipeline) if self.needs_stand_in(pipeline) else None
        return [
            find_adapter(
                lora,
                sources=self.sources,
                access=self.access,
                stand_in_folder=folder,
            )
            for lora in pipeline.loras
        ]

    def ip_adapter(self, pipeline: Pipeline) -> Adapted | None:
        """The IP-Adapter that the pipeline should have; downloads its file."""
        if pipeline.ip_adapter is None:
            return None
        encoder = self.pipeline(pipeline).components.get("image_encoder")
        stand_in = (self.stand_in(pipeline), encoder.source) if self.rehearse and encoder else None
        return find_ip_adapter(
            pipeline.ip_adapter, sources=self.sources, access=self.access, stand_in=stand_in
        )

    def stand_in(self, pipeline: Pipeline) -> Path:
        """The folder of the tiny pipeline that a rehearsal runs on."""
        arguments = pipeline.from_pretrained_arguments
        name = arguments.get("model_name") or arguments.get("from_single_file") or ""
        return stand_in(pipeline.configuration.component_type, str(name))

    def needs_stand_in(self, pipeline: Pipeline) -> bool:
        """Whether it is rehearsed: what comes with dw is small, and runs as it is."""
        return self.rehearse and not pipeline.is_builtin

    def task(self, models: TaskParts | Pipeline, device: str | None) -> PipelineSpec:
        """The load spec of what a command runs on, on `device` or else the run's, made once. With
        less room its models visit the device for each call.

        Raises RunFailed or WorkflowError when there is no such model.
        """
        if isinstance(models, Pipeline):
            return self.pipeline(models)
        key = (self.access.folder, device, *models.items())
        if key not in self._of_tasks:
            self._of_tasks[key] = self._task(models, self._device(device))
        return self._of_tasks[key]

    def _task(self, parts: TaskParts, device: Device) -> PipelineSpec:
        is_visitor = self.offload is not None and device.kind == "cuda"
        placement = Placement(device.spec, "model" if is_visitor else None)
        components = {n: part_spec(part, self, placement) for n, part in parts.items()}
        return PipelineSpec(TaskModels, components, {}, {}, PlacementPlan(placement))

    def needs_of(self, task: Task, step: str) -> Iterator[StepRequirement]:
        """What a command of a step needs, as far as no results of earlier steps decide it."""
        for arguments in [task.arguments or {}] if task.inputs is None else task.inputs:
            with suppress(KeyError):
                if isinstance(arguments, Mapping) and (
                    models := models_of(task.command, arguments)
                ):
                    yield StepRequirement(step, self.task(models, arguments.get("device")))

    def quantization(self, name: str, wanted: Quantization | None) -> QuantizationSpec | None:
        """How the component `name` is quantized; a rehearsal tells what it leaves out."""
        if wanted is None:
            return None
        if self.rehearse and (reason := cannot_rehearse(wanted.config_type)):
            self.warn(f"{name!r} is rehearsed without {wanted.config_type}: {reason}")
            return None
        return quantization_spec(wanted, trust=self.trust)

    def _import(self, module: str) -> None:
        if self.rehearse and (message := missing_package(module)):
            self.warn(f"rehearsed without it: {message}")
        else:
            resolve.import_module(module, trust=self.trust)

    @property
    def _layouts(self) -> PlacementPlanner:
        return PlacementPlanner(
            find_device=self._device,
            warn=self.warn,
            access=self.access,
            rehearse=self.rehearse,
            offload=self.offload,
        )

    def _device(self, wanted: str | None) -> Device:
        if wanted is None:
            return self.device
        try:
            return self.find_device(wanted)
        except UsageError as error:
            if not self.rehearse:
                raise
            self.warn(f"{error.message}; rehearsing on {self.device.spec}")
            return self.device


def _modules_to_import(pipeline: Pipeline) -> Iterator[str]:
    yield from pipeline.configuration.pre_load_modules
    for component in pipeline.components.values():
        yield from component.configuration.pre_load_modules
