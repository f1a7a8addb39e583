"""The engine: runs workflows on models that it keeps, one run at a time, on one thread. It emits
events and never prints."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diffusers import DiffusionPipeline

from dw.engine.calls.acceleration import usable
from dw.engine.calls.call_settings import CallSettings
from dw.engine.calls.ip_adapter import IpAdapters
from dw.engine.calls.loras import LoraAdapters
from dw.engine.cancellation import RunControl
from dw.engine.checks.downloads import check_downloads
from dw.engine.checks.memory_fit import check_memory_fit
from dw.engine.checks.signatures import check_concrete, check_workflow
from dw.engine.device import Device, choose_device
from dw.engine.errors import DeviceDied, OutOfMemory, failing
from dw.engine.execution.execution import Execution
from dw.engine.execution.run import Run
from dw.engine.execution.run_record import RunRecord
from dw.engine.execution.seeds import run_seed
from dw.engine.files.access import FileAccess, typed_texts
from dw.engine.files.outputs import OutputWriter, new_run_folder
from dw.engine.memory import cleanup
from dw.engine.memory.cleanup import ClearReport
from dw.engine.memory.footprint import Footprint
from dw.engine.memory.out_of_memory import Shortage
from dw.engine.models.cache import CachePlan, ComponentCache, StepRequirement
from dw.engine.models.live_models import LiveModels
from dw.engine.models.planner import Planner
from dw.engine.models.source import Sources
from dw.engine.models.spec import Offload
from dw.engine.patches import progress_bars
from dw.engine.python import resolve
from dw.engine.python.resolve import argument_value, with_constants
from dw.engine.tasks import models_of
from dw.errors import DwError
from dw.events import Event, Executing, Loaded, Planned, Started, Warned
from dw.types import Memory, OutputFile
from dw.workflow import Diagnostic, Document, Workflow, check_files
from dw.workflow.diagnostics import merge_stages, raise_on_errors
from dw.workflow.references import result_references


@dataclass(frozen=True, slots=True)
class RunResult:
    workflow: str
    seconds: float  # execution only, without loading
    seed: int
    outputs: tuple[OutputFile, ...]
    output_dir: str
    stopped_early: bool  # a stop left out denoising steps or iterations


class Engine:
    """`run`, `check`, `prepare`, `clear` and `settle` belong to one thread; `memory` may be
    called from any."""

    def __init__(self) -> None:
        self._live_models = LiveModels()
        self._cache = ComponentCache(self._live_models)
        self._sources = Sources()
        self._adapters = LoraAdapters()
        self._ip_adapters = IpAdapters()
        self._call_settings = CallSettings()
        self._writer = OutputWriter()
        self._device: Device | None = None
        self._pipeline: DiffusionPipeline | None = None  # of a run that ended badly
        self._is_poisoned = False  # the device's context is dead: touching it may hang
        self._last_text: str | None = None
        self._cramped: tuple[str, Offload | None] = ("", None)  # a workflow, what made room for it
        self._late: tuple[str, tuple[StepRequirement, ...]] = (
            "",
            (),
        )  # a workflow, what it needed late
        self._runs = 0

    def run(
        self,
        document: Document,
        *,
        run_id: int,
        arguments: Mapping[str, Any],
        seed: int | None,
        drawn_seed: int = 0,
        output_dir: Path,
        device: str | None,
        rehearse: bool,
        control: RunControl,
        emit: Callable[[Event], None],
    ) -> RunResult:
        """Run a workflow. Its files are written and verified when this returns.

        When a GPU's memory is too small it is done once more, with models offloaded.

        Raises WorkflowError before anything loads, UsageError for arguments, RunFailed,
        OutOfResources and Cancelled. After the last three `settle` must be called, outside the
        `except` block.
        """
        trust = document.permissions.trust

        def warn(message: str) -> None:
            emit(Warned(run_id, message))

        document, unknown = with_constants(document)
        given = {name: argument_value(value, trust=trust) for name, value in arguments.items()}
        problems = check_files(document, arguments, rehearse=rehearse)
        workflow = _checked(document, given, unknown, problems)
        self._device = self._find_device(device)
        planner = Planner(
            sources=self._sources,
            access=FileAccess(
                folder=document.path.parent,
                root=document.path.parent,
                permissions=document.permissions,
                typed=typed_texts({name: workflow.variables[name] for name in arguments}),
                check=control.check,
            ),
            device=self._device,
            find_device=self._find_device,
            warn=warn,
            rehearse=rehearse,
            offload=self._known_offload(document, warn),
        )
        run = Run(
            document=document,
            workflow=workflow,
            seed=run_seed(
                document,
                workflow,
                typed=seed,
                drawn=drawn_seed,
                warn=warn,
            ),
            folder=new_run_folder(output_dir, workflow.id),
            control=control,
            run_id=run_id,
            emit=emit,
            planner=planner,
            cache=self._cache,
            adapters=self._adapters,
            ip_adapters=self._ip_adapters,
            call_settings=self._call_settings,
            writer=self._writer,
            chosen=frozenset(arguments),
        )
        record = RunRecord(run, arguments)
        record.begin()
        emit(Started(run_id, workflow.id, run.seed, str(run.folder)))
        listener = progress_bars.Listener(run.count, run.report, run.warn)
        with self._recorded(run, record), progress_bars.listening(listener):
            self._try_twice(run)
        self._runs += 1
        return RunResult(
            workflow=workflow.id,
            seconds=run.timings_s["execute"],
            seed=run.seed,
            outputs=tuple(run.outputs),
            output_dir=str(run.folder),
            stopped_early=run.cuts > 0,
        )

    def check(self, document: Document) -> tuple[Diagnostic, ...]:
        """Every misfit between the document, its sub-workflows and the installed classes, as far
        as they have the right shape. Loads no model."""
        document, unknown = with_constants(document)
        return merge_stages(unknown, _misfits(document))

    def survey(self, document: Document, device: str | None = None) -> tuple[Diagnostic, ...]:
        """Notes on the models that would be downloaded, and how much that is if the hub tells it
        soon; warnings of those that are too large for the device, which is not touched."""
        return check_downloads(document, self._sources) + check_memory_fit(
            document, self._find_device, device
        )

    def prepare(self, document: Document) -> None:
        """Import the classes of the pipelines, and of the models of tasks, that the document names,
        and what they import. Touches no device."""
        for step in document.bind().steps:
            if step.task is not None and step.task.arguments is not None:
                with suppress(KeyError):  # it depends on a result
                    models_of(step.task.command, step.task.arguments)
            if step.pipeline is not None:
                resolve.pipeline_class(
                    step.pipeline.configuration.component_type, trust=document.permissions.trust
                )
        for child in document.children.values():
            self.prepare(child)

    def memory(self) -> Memory:
        return cleanup.report(self._device or self._find_device(None), self._cache, self._runs)

    def clear(self) -> ClearReport:
        """Free every model. The next run loads again and is a first one."""
        self._last_text = self._pipeline = None
        self._cramped, self._late = ("", None), ("", ())
        self._runs = 0
        return cleanup.free(self._device or self._find_device(None), self._cache, self._live_models)

    def settle(self) -> None:
        """Put the models right after a run that failed or was cancelled. Call it outside the
        `except` block."""
        if self._is_poisoned:
            return
        pipeline, self._pipeline = self._pipeline, None
        self._call_settings.put_back()
        cleanup.settle(pipeline, self._cache, self._device or self._find_device(None))

    def _find_device(self, wanted: str | None) -> Device:
        return choose_device(wanted, live_bytes=self._live_models.live_bytes)

    @contextmanager
    def _recorded(self, run: Run, record: RunRecord) -> Iterator[None]:
        """Have the record say how the run ended, whatever the end."""
        try:
            yield
        except BaseException as error:
            self._pipeline = run.pipeline
            self._is_poisoned |= isinstance(error, DeviceDied)
            if isinstance(error, OutOfMemory):
                shortage = self._shortage(run, error)
                error.message, error.hints = shortage.message(), shortage.hints()
            run.outputs += self._writer.settle()
            run.sweep()
            record.end(error)
            raise
        run.sweep()
        record.end()

    def _try_twice(self, run: Run) -> None:
        """Do it all; when the GPU's memory is too small, once more with less on it."""
        try:
            self._try(run)
        except OutOfMemory as error:
            cheaper = run.planner.cheaper()
            if cheaper is None:
                raise
            shortage = self._shortage(run, error).message()
        else:
            return
        # Not in the `except` block, whose exception holds what has to be freed.
        run.tell(f"{shortage}; once more with offload {cheaper.offload!r}")
        self._writer.settle()
        run.outputs.clear()  # the same names are written again
        self._pipeline, run.pipeline = run.pipeline, None
        self.settle()
        self._cramped, self._late = (_digest(run.document), cheaper.offload), ("", ())
        run.planner = cheaper
        self._try(run)

    def _try(self, run: Run) -> None:
        run.control.stepped(0, 0)
        execution = Execution(run, run.document, run.workflow, seed=run.seed, chosen=run.chosen)
        execution.prepare()
        self._load(run)
        known = len(run.needs)
        self._execute(run, execution)
        self._late = (_digest(run.document), tuple(run.needs[known:]))

    def _known_offload(self, document: Document, warn: Callable[[str], None]) -> Offload | None:
        """What made room for this workflow before, so that it is not loaded in vain each time."""
        digest, offload = self._cramped
        if digest != _digest(document):
            return None
        warn(f"offload {offload!r}, as there was no room without it in an earlier run")
        return offload

    def _shortage(self, run: Run, error: OutOfMemory) -> Shortage:
        device, vae = run.planner.device, getattr(run.pipeline, "vae", None)
        return Shortage(
            text=error.message,
            free=device.memory().free,
            loaded=self._cache.components(),
            has_host=device.kind == "cuda",
            decodes_whole=run.is_denoised and not getattr(vae, "use_tiling", True),
        )

    def _load(self, run: Run) -> None:
        begun = time.monotonic()
        run.needs = list(self._needs(run, run.document, run.workflow))
        plan = self._cache.plan([*run.needs, *self._late_needs(run)])
        if not Footprint.of(plan.loads, run.planner.device).has_room():
            plan = self._cache.plan(run.needs)
        reason = self._reason(run.document, plan)
        labels = tuple(load.label for load in plan.loads)
        kept = tuple(plan.kept.values())
        run.emit(Planned(run.run_id, reason, kept, labels, plan.dropped))
        run.timings_s["plan"] = time.monotonic() - begun
        self._cache.keep_only(plan)
        if plan.dropped:
            run.planner.device.empty_cache()
        if message := Footprint.of(plan.loads, run.planner.device).shortage():
            run.warn(message)
        with failing(lambda: f"loading {run.step}"):
            self._cache.load(plan, before=run.loading)
        self._last_text = _digest(run.document)
        run.timings_s["load"] = time.monotonic() - begun
        if reason != "cached":
            run.emit(Loaded(run.run_id, run.workflow.id, run.timings_s["load"]))

    def _late_needs(self, run: Run) -> list[StepRequirement]:
        """What is in memory because the last run of this workflow turned out to need it."""
        digest, late = self._late
        if digest != _digest(run.document):
            return []
        return [need for need in late if not self._cache.plan([need]).loads]

    def _execute(self, run: Run, execution: Execution) -> None:
        begun = time.monotonic()
        run.emit(Executing(run.run_id, run.workflow.id))
        execution.execute()
        with failing(lambda: "writing"):
            run.collect(self._writer.drain())
        run.timings_s["execute"] = time.monotonic() - begun

    def _needs(
        self, run: Run, document: Document, workflow: Workflow, prefix: str = ""
    ) -> Generator[StepRequirement, None, bool]:
        """What every pipeline step needs, those of sub-workflows too, as far as is known before
        they run, up to a step that releases models: what comes after it is loaded when it is
        reached, and has the room. Returns whether there is one. Raises WorkflowError for misfits
        that show only here."""
        planner = run.planner.beside(document.path.parent)
        for index, step in enumerate(workflow.steps):
            run.control.check()
            run.step = f"{prefix}{step.name}"
            with failing(run.where):
                if (pipeline := workflow.pipeline_of(step)) is not None:
                    spec = planner.pipeline(pipeline, workflow.sharers_of(pipeline))
                    raise_on_errors(document.path, check_concrete(document, spec, workflow, index))
                    planner.adapters(pipeline)
                    planner.ip_adapter(pipeline)
                    usable(pipeline.configuration, run)
                    yield StepRequirement(run.step, spec)
                elif step.task is not None:
                    yield from planner.needs_of(step.task, run.step)
                elif step.workflow is not None:
                    child = document.children[step.workflow.path]
                    if (yield from self._needs_of_child(run, child, step.workflow.arguments)):
                        return True
            if step.release_models or step.release_pipeline:
                return True
        return False

    def _needs_of_child(
        self, run: Run, child: Document, arguments: Mapping[str, Any]
    ) -> Generator[StepRequirement, None, bool]:
        known = {n: v for n, v in arguments.items() if not any(result_references(v))}
        # With results among its arguments, what does not fit its defaults may fit these.
        forgiven = (DwError,) if len(known) < len(arguments) else ()
        with suppress(*forgiven):
            workflow = child.bind(known)
            raise_on_errors(child.path, check_workflow(child, workflow, trust=run.planner.trust))
            return (yield from self._needs(run, child, workflow, f"{run.step}."))
        return False

    def _reason(
        self, document: Document, plan: CachePlan
    ) -> Literal["first", "changed", "arguments", "cached"]:
        if self._last_text is None:
            return "first"
        if self._last_text != _digest(document):
            return "changed"
        return "arguments" if plan.loads else "cached"


def _misfits(document: Document) -> Iterator[Diagnostic]:
    yield from check_workflow(document, document.partial(), trust=document.permissions.trust)
    for child in document.children.values():
        yield from _misfits(child)


def _checked(
    document: Document, arguments: Mapping[str, Any], *others: Iterable[Diagnostic]
) -> Workflow:
    """The workflow with these arguments. Raises UsageError for them, and WorkflowError with all
    that is wrong at any stage of validation, the others among them."""
    workflow, problems = document.validate(arguments)
    part = document.partial(arguments) if workflow is None else workflow
    misfits = check_workflow(document, part, trust=document.permissions.trust)
    raise_on_errors(document.path, merge_stages(problems, *others, misfits))
    assert workflow is not None  # else there are errors
    return workflow


def _digest(document: Document) -> str:
    """Of the text of the document and all of its sub-workflows."""
    inner = "".join(_digest(child) for child in document.children.values())
    return hashlib.sha256(f"{document.text}\0{inner}".encode()).hexdigest()
