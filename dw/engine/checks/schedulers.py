"""Schedulers: a workflow's against those of its models that are on disk. Loads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from dw.engine.checks.memory_fit import FindDevice, planner_of
from dw.engine.errors import failing
from dw.engine.models.schedulers import check_scheduler
from dw.engine.models.spec import PipelineSpec
from dw.engine.python import resolve
from dw.errors import DwError
from dw.workflow import Diagnostic, Document
from dw.workflow.format.pipeline import Pipeline


def check_schedulers(
    document: Document, find_device: FindDevice, device: str | None = None
) -> Iterator[Diagnostic]:
    """The diagnostics of all pipelines whose models are on disk, also in sub-workflows."""
    workflow = document.partial()
    for index, step in enumerate(workflow.steps):
        if step.pipeline is not None and step.pipeline.schedulers:
            with suppress(DwError), failing():  # other checks report it
                planner = planner_of(document, find_device, device)
                spec = planner.pipeline(step.pipeline, workflow.sharers_of(step.pipeline))
                yield from schedulers_of(document, spec, step.pipeline, index)
    for child in document.children.values():
        yield from check_schedulers(child, find_device, device)


def schedulers_of(
    document: Document, spec: PipelineSpec, pipeline: Pipeline, index: int
) -> Iterator[Diagnostic]:
    """The diagnostics of the pipeline of a step, as far as the configs of its schedulers are known
    before they are loaded."""
    for name, scheduler in pipeline.schedulers.items():
        if (own := spec.schedulers.get(name)) is None:
            continue
        cls = own.cls
        if scheduler.scheduler_type is not None:
            trust = document.permissions.trust
            cls = resolve.scheduler_class(scheduler.scheduler_type, trust=trust)
        for found in check_scheduler(own.cls, own.config, scheduler, cls):
            yield document.locate(found.below(("steps", index, "pipeline", name)))
