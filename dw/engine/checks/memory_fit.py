"""Memory fit: whether the models of a workflow that are on disk fit on their devices. Loads and
downloads nothing, and touches no device."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from dw.engine.device import Device
from dw.engine.errors import failing
from dw.engine.files.access import FileAccess
from dw.engine.memory.footprint import Footprint, Weights
from dw.engine.models.cache import ComponentCache, StepRequirement
from dw.engine.models.context import LoadContext
from dw.engine.models.live_models import LiveModels
from dw.engine.models.planner import Planner
from dw.engine.models.source import Sources
from dw.errors import DwError
from dw.types import Permissions
from dw.workflow import Diagnostic, Document, Workflow
from dw.workflow.json_path import JsonPath
from dw.workflow.paths import models_in
from dw.workflow.references import result_references

FindDevice = Callable[[str | None], Device]


def check_memory_fit(
    document: Document, find_device: FindDevice, device: str | None = None
) -> tuple[Diagnostic, ...]:
    """A warning at each model that is too large for its device, alone or with the others.

    Not an error: a run that is out of memory repeats with models offloaded.
    """
    found: dict[str, Diagnostic] = {}
    with suppress(DwError):  # there is no such device
        planner = planner_of(document, find_device, device)
        named = _named(document, document.partial(), planner)
        for _, together in groupby(named, key=lambda each: each is None):
            for problem in _too_large([each for each in together if each], find_device):
                found.setdefault(problem.place, problem)
    return tuple(found.values())


def planner_of(document: Document, find_device: FindDevice, device: str | None) -> Planner:
    """A planner that downloads nothing and runs no code. Raises RunFailed without the device."""
    # Trust only opens every folder here: the code of a model is not run for a warning.
    permissions = Permissions(allowed_dirs=document.permissions.allowed_dirs)
    if document.permissions.trust:
        anywhere = Path(document.path.absolute().anchor)
        permissions = Permissions(allowed_dirs=(anywhere,))
    return Planner(
        LoadContext(
            sources=Sources(downloads=False),
            access=FileAccess(document.path.parent, permissions=permissions),
            device=find_device(device),
            find_device=find_device,
            warn=lambda _: None,
        )
    )


@dataclass(frozen=True, slots=True)
class _Named:
    """The requirement of a step, with the path of the step."""

    need: StepRequirement
    document: Document
    path: JsonPath  # of the step

    def place(self, weights: Weights) -> JsonPath:
        """The path of the model's name that the weights belong to."""
        component = weights.label.removeprefix(f"{self.need.step}.")
        models = [path for path, _ in models_in(self.document.filled()) if path[:2] == self.path]
        own = (path for path in models if component in path)
        return next(own, min(models, key=len, default=self.path))


def _named(
    document: Document, workflow: Workflow, planner: Planner, prefix: str = ""
) -> Iterator[_Named | None]:
    """The requirements of all steps, in the order of the run; None after a step that releases
    models."""
    for index, step in enumerate(workflow.steps):
        label = f"{prefix}{step.name}"
        with suppress(DwError), failing():  # other checks report it
            if step.workflow is not None:
                child, arguments = document.children[step.workflow.path], step.workflow.arguments
                known = {n: v for n, v in arguments.items() if not any(result_references(v))}
                beside = planner.beside(child.path.parent)
                yield from _named(child, child.partial(known), beside, f"{label}.")
            if (pipeline := workflow.pipeline_of(step)) is not None:
                spec = planner.pipeline(pipeline, workflow.sharers_of(pipeline))
                yield _Named(StepRequirement(label, spec), document, ("steps", index))
            elif step.task is not None:
                needs = planner.needs_of(step.task, label)
                yield from (_Named(need, document, ("steps", index)) for need in needs)
        if step.release_models or step.release_pipeline:
            yield None


def _too_large(named: Sequence[_Named], find_device: FindDevice) -> Iterator[Diagnostic]:
    """A warning for each device on which models that are loaded at the same time do not fit."""
    loads = ComponentCache(LiveModels()).plan([each.need for each in named]).loads
    placements = [load.spec.placement for load in loads if load.spec is not None]
    for device in dict.fromkeys(each.device for each in placements if each is not None):
        footprint = Footprint.of(loads, find_device(device))
        if message := footprint.overflow(ever=True):
            weights = max(footprint.exact, key=lambda each: each.nbytes)
            owner = next(each for each in named if each.need is weights.need)
            yield owner.document.diagnostic_at(owner.place(weights), message, "warning")
