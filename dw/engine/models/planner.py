"""The planner: from what a workflow says of its models to load specs. It may download files; it
loads no weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.engine.models.cache import StepRequirement
from dw.engine.models.context import LoadContext
from dw.engine.models.placement_plan import OFFLOADS, placement_plan
from dw.engine.models.spec import PartSpec, PipelineSpec, Placement, PlacementPlan
from dw.engine.models.spec_builder import SpecBuilder
from dw.engine.models.task_models import TaskModels, part_spec
from dw.engine.python import resolve
from dw.engine.tasks import models_of
from dw.engine.tasks.parts import TaskParts
from dw.errors import RunFailed
from dw.extras import missing_package
from dw.workflow.format.model import Task
from dw.workflow.format.pipeline import Pipeline


@dataclass(frozen=True)
class Planner:
    """Makes the load specs of one run, each of them once."""

    context: LoadContext
    # By the identity of the pipeline, which is kept so that its id stays its own.
    _of_pipelines: dict[int, tuple[Pipeline, PipelineSpec]] = field(default_factory=dict)
    _of_tasks: dict[Any, PipelineSpec] = field(default_factory=dict)

    def beside(self, folder: Path) -> Planner:
        """The planner for a workflow that lies in `folder`. It shares the specs of this one."""
        return replace(self, context=self.context.beside(folder))

    def cheaper(self) -> Planner | None:
        """A planner that puts less on the GPU than this one did; None when there is no less."""
        plans = [spec.placement_plan for _, spec in self._of_pipelines.values()]
        # What the workflow places by hand stays where it is.
        placements = [plan.placement for plan in plans if not plan.own]
        placements += [spec.placement for spec in self._of_tasks.values()]
        device = self.context.device
        used = [
            OFFLOADS.index(p.offload)
            for p in placements
            if p.device == device.spec and p.offload in OFFLOADS
        ]
        rest = OFFLOADS[min(used, default=len(OFFLOADS)) + 1 :]
        if device.kind != "cuda" or not rest:
            return None
        return Planner(replace(self.context, offload=rest[0]))

    # ------------------------------------------------------------------ pipelines

    def pipeline(
        self, pipeline: Pipeline, sharers: Mapping[str, Pipeline] = MappingProxyType({})
    ) -> PipelineSpec:
        """The load spec of a pipeline. `sharers`: of the components that it reuses.

        Raises RunFailed or WorkflowError when there is no such model or it does not fit the class.
        """
        if id(pipeline) not in self._of_pipelines:
            self._import_modules(pipeline)
            reused = {name: self.shared(each, name) for name, each in sharers.items()}
            # The run's own context: a built-in model is rehearsed, too, on a machine without
            # the device that the workflow names.
            plan = placement_plan(pipeline, self.context)
            context = self.context.of_pipeline(pipeline)
            spec = SpecBuilder(context, pipeline, plan, reused).spec()
            self._of_pipelines[id(pipeline)] = (pipeline, spec)
        return self._of_pipelines[id(pipeline)][1]

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

    def _import_modules(self, pipeline: Pipeline) -> None:
        """Import the modules that must be imported before the models are loaded."""
        blocks = [pipeline, *pipeline.components.values()]
        for module in (m for block in blocks for m in block.configuration.pre_load_modules):
            if self.context.rehearse and (message := missing_package(module)):
                self.context.warn(f"rehearsed without it: {message}")
            else:
                resolve.import_module(module, trust=self.context.trust)

    # ------------------------------------------------------------------ tasks

    def task(self, models: TaskParts | Pipeline, device: str | None) -> PipelineSpec:
        """The load spec of what a task runs on, on `device` or else the run's. With less room its
        models visit the device for each call.

        Raises RunFailed or WorkflowError when there is no such model.
        """
        if isinstance(models, Pipeline):
            return self.pipeline(models)
        key = (self.context.access.folder, device, *models.items())
        if key not in self._of_tasks:
            home = self.context.device_for(device)
            is_visitor = self.context.offload is not None and home.kind == "cuda"
            placement = Placement(home.spec, "model" if is_visitor else None)
            parts = {n: part_spec(part, self.context, placement) for n, part in models.items()}
            spec = PipelineSpec(TaskModels, parts, {}, {}, PlacementPlan(placement))
            self._of_tasks[key] = spec
        return self._of_tasks[key]

    def needs_of(self, task: Task, step: str) -> Iterator[StepRequirement]:
        """What the task of a step needs, as far as no results of earlier steps decide it."""
        for arguments in [task.arguments or {}] if task.inputs is None else task.inputs:
            with suppress(KeyError):  # a result decides it
                if isinstance(arguments, Mapping) and (
                    models := models_of(task.command, arguments)
                ):
                    yield StepRequirement(step, self.task(models, arguments.get("device")))
