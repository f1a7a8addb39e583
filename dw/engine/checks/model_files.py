"""Model files: whether what a workflow names on this machine, or in the hub's cache, can be loaded:
variants, whole files of weights, LoRAs that are LoRAs. Loads and downloads nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from dw.engine.calls.ip_adapter import find_ip_adapter
from dw.engine.calls.loras import find_loras
from dw.engine.checks.memory_fit import FindDevice, planner_of
from dw.engine.errors import failing
from dw.engine.models.not_found import NotCached
from dw.engine.models.planner import Planner
from dw.engine.python import resolve
from dw.errors import DwError, RunFailed, TrustWorkflow, WorkflowError
from dw.types import Severity
from dw.workflow import Diagnostic, Document, Workflow
from dw.workflow.format.model import Step
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.json_path import JsonPath
from dw.workflow.references import result_references

_TRUST = "the setting 'trust' allows it"


def check_model_files(
    document: Document, find_device: FindDevice, device: str | None = None
) -> Iterator[Diagnostic]:
    """An error at each model that is on this machine and cannot be loaded, also in sub-workflows; a
    warning where an argument may name another one."""
    with suppress(DwError):  # there is no such device
        planner = planner_of(document, find_device, device)
        yield from _check(document, document.partial(), planner)


def _check(document: Document, workflow: Workflow, planner: Planner) -> Iterator[Diagnostic]:
    for index, step in enumerate(workflow.steps):
        checker = _Checker(document, planner, ("steps", index))
        checker.check(workflow, step)
        yield from checker.found
        if step.workflow is not None and (child := document.children.get(step.workflow.path)):
            arguments = step.workflow.arguments
            known = {n: v for n, v in arguments.items() if not any(result_references(v))}
            with suppress(DwError):  # other checks report it
                yield from _check(child, child.partial(known), planner.beside(child.path.parent))


class _Checker:
    """Finds what is wrong with the models of one step."""

    def __init__(self, document: Document, planner: Planner, path: JsonPath) -> None:
        self.found: list[Diagnostic] = []
        self._document = document
        self._planner = planner
        self._path = path

    def check(self, workflow: Workflow, step: Step) -> None:
        if (pipeline := step.pipeline) is not None:
            self._check_pipeline(workflow, pipeline)
        elif step.task is not None:
            with self._at("task"):
                list(self._planner.needs_of(step.task, step.name))

    def _check_pipeline(self, workflow: Workflow, pipeline: Pipeline) -> None:
        context, cls = self._planner.context, None
        with suppress(WorkflowError):
            cls = resolve.pipeline_class(pipeline.configuration.component_type)
        with self._at("pipeline", "from_pretrained_arguments", "model_name"):
            cls = self._planner.pipeline(pipeline, workflow.sharers_of(pipeline)).cls
        for number, lora in enumerate(pipeline.loras):
            with self._at("pipeline", "loras", number, "model_name"):
                find_loras(cls, pipeline.model_copy(update={"loras": (lora,)}), context)
        with self._at("pipeline", "ip_adapter", "model_name"):
            find_ip_adapter(pipeline, context, None)

    @contextmanager
    def _at(self, *place: str | int) -> Iterator[None]:
        """Turn an error into a diagnostic at its place, by default `place`."""
        try:
            with failing():
                yield
        except NotCached:
            pass  # it can be downloaded, which another check notes
        except RunFailed as error:
            needs_trust = any(isinstance(hint, TrustWorkflow) for hint in error.hints)
            if needs_trust and self._document.permissions.trust:
                return  # a run has it
            path = (*self._path, *(("pipeline", *error.path) if error.path else place))
            hints = [hint for hint in error.hints if isinstance(hint, str)]
            message = "; ".join([error.message, *([_TRUST] if needs_trust else []), *hints])
            is_default = self._document.variable_at(path) is not None
            severity: Severity = "warning" if is_default else "error"
            self.found.append(self._document.diagnostic_at(path, message, severity))
        except DwError:
            pass  # other checks report it
