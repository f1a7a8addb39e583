"""The engine: runs workflows on models that it keeps, one run at a time, on one thread. It emits
events and never prints."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Literal

from diffusers import DiffusionPipeline

from dw.engine.calls.previews import Previews
from dw.engine.cancellation import RunControl
from dw.engine.checks.downloads import check_downloads
from dw.engine.checks.masks import check_masks
from dw.engine.checks.memory_fit import check_memory_fit
from dw.engine.checks.model_files import check_model_files
from dw.engine.checks.results import extents
from dw.engine.checks.schedulers import check_schedulers
from dw.engine.checks.signatures import check_workflow
from dw.engine.device import Device, choose_device
from dw.engine.errors import DeviceDied, OutOfMemory, failing
from dw.engine.execution.execution import Execution
from dw.engine.execution.offload_fallback import OffloadFallback, report_of
from dw.engine.execution.origin import origin_of_run
from dw.engine.execution.remembered import Remembered, digest_of
from dw.engine.execution.requirements import requirements
from dw.engine.execution.run import RunContext, RunResult, RunState
from dw.engine.execution.run_record import RunRecord
from dw.engine.execution.seeds import run_seed
from dw.engine.files.access import FileAccess, typed_texts
from dw.engine.files.disk_space import require_room, require_short
from dw.engine.files.outputs import OutputWriter, new_run_folder
from dw.engine.memory import cleanup
from dw.engine.memory.cleanup import ClearReport
from dw.engine.memory.footprint import Footprint
from dw.engine.models.cache import CachePlan, ComponentCache, StepRequirement
from dw.engine.models.context import LoadContext
from dw.engine.models.live_models import LiveModels
from dw.engine.models.planner import Planner
from dw.engine.models.source import Sources
from dw.engine.patches import progress_bars
from dw.engine.python import resolve
from dw.engine.python.resolve import argument_value, with_constants
from dw.engine.tasks import models_of
from dw.errors import RetryRun, RunFailed
from dw.events import Event, Executing, Loaded, Planned, Run, Started, Warned
from dw.redaction import tokens_in
from dw.types import Memory
from dw.workflow import Diagnostic, Document, Workflow, check_files
from dw.workflow.diagnostics import merge_stages, raise_on_errors


class Engine:
    """`run`, `check`, `prepare`, `clear` and `recover` belong to one thread; `memory` may be
    called from any."""

    def __init__(self) -> None:
        self._live_models = LiveModels()
        self._cache = ComponentCache(self._live_models)
        self._sources = Sources()
        self._writer = OutputWriter()
        self._device: Device | None = None  # of the last run
        self._pipeline: DiffusionPipeline | None = None  # of a run that ended badly
        self._is_poisoned = False  # the device's context is dead: touching it may hang
        self._loaded: str | None = None  # the digest of the workflow whose models are in memory
        self._late_needs: Remembered[tuple[StepRequirement, ...]] = Remembered()
        self._fallback = OffloadFallback()
        self._told: set[str] = set()
        self._runs = 0

    # ------------------------------------------------------------------ a run

    def run(
        self,
        document: Document,
        request: Run,
        *,
        control: RunControl,
        emit: Callable[[Event], None],
    ) -> RunResult:
        """Run a workflow: `document` is what the text of `request` says. Its files are written and
        verified when this returns.

        If a GPU's memory is too small, the run is repeated once with models offloaded.

        Raises WorkflowError before anything loads, UsageError for arguments, RunFailed,
        OutOfResources and Cancelled. After the last three `recover` must be called, outside the
        `except` block. `emit` is called from the thread that runs, in the order of the run, from
        threads of the hub while they download, and from one that makes previews.
        """
        document, workflow = _validated(document, request)
        # Before there is a folder: a device that does not exist leaves nothing behind.
        self._device = self._find_device(request.device)
        _require_disk(document, workflow, request)
        context = self._context(document, workflow, request, control, emit)
        loading = self._load_context(context, self._device, request)
        run = RunState(context, Planner(loading))
        record = RunRecord(run, request)
        record.begin()
        emit(Started(request.run_id, workflow.id, context.seed, str(context.folder)))
        with (
            self._recorded(run, record),
            closing(context.previews),
            progress_bars.listening(run.listener()),
        ):
            self._fallback.run(run, self._attempt, make_room=self._make_room)
        self._runs += 1
        return run.result()

    def _context(
        self,
        document: Document,
        workflow: Workflow,
        request: Run,
        control: RunControl,
        emit: Callable[[Event], None],
    ) -> RunContext:
        secrets = {**tokens_in(document.filled(request.arguments)), **request.secrets}
        seed = run_seed(
            document,
            workflow,
            typed=request.seed,
            drawn=request.drawn_seed,
            warn=lambda message: emit(Warned(request.run_id, message)),
        )
        origin = origin_of_run(document, request.arguments, seed, secrets)
        return RunContext(
            run_id=request.run_id,
            document=document,
            workflow=workflow,
            seed=seed,
            folder=new_run_folder(
                Path(request.output_dir), workflow.id, max(request.run_id, 0) or None
            ),
            control=control,
            emit=emit,
            chosen=frozenset(request.arguments),
            cache=self._cache,
            writer=self._writer,
            secrets=secrets,
            previews=Previews(request.preview_s, request.partial_images, emit),
            told=self._told,
            origin=origin if request.metadata else None,
        )

    def _load_context(self, context: RunContext, device: Device, request: Run) -> LoadContext:
        folder, variables = context.document.path.parent, context.workflow.variables
        typed = {name: variables[name] for name in context.chosen} if request.are_typed else {}
        return LoadContext(
            sources=self._sources,
            access=FileAccess(
                folder=folder,
                root=folder,
                permissions=context.document.permissions,
                typed=typed_texts(typed),
                check=context.control.check,
            ),
            device=device,
            find_device=self._find_device,
            warn=context.warn,
            rehearse=request.rehearse,
            offload=self._fallback.known(context),
        )

    @contextmanager
    def _recorded(self, run: RunState, record: RunRecord) -> Iterator[None]:
        """Have the record say how the run ended, whatever the end."""
        try:
            yield
        except BaseException as error:  # a cancel is not an Exception
            self._pipeline = run.pipeline  # for `recover`, which runs when the error is gone
            self._is_poisoned |= isinstance(error, DeviceDied)
            if isinstance(error, OutOfMemory):
                report = report_of(run, error)
                error.message, error.hints = report.message(), report.hints()
            run.outputs += self._writer.settle()  # what was made before is worth keeping
            run.sweep()
            record.end(error)
            raise
        run.sweep()
        record.end()

    def _attempt(self, run: RunState) -> None:
        context = run.context
        context.control.stepped(0, 0)
        execution = Execution(
            run, context.document, context.workflow, seed=context.seed, chosen=context.chosen
        )
        execution.prepare()  # a missing image shows before minutes of loading
        self._load(run)
        known, begun = len(run.needs), time.monotonic()
        context.emit(Executing(context.run_id, context.workflow.id))
        execution.execute()
        with failing(lambda: "writing"):  # in a thread of its own, while the steps ran
            run.collect(self._writer.drain())
        run.timings_s["execute"] = time.monotonic() - begun
        self._require_unchanged(run)
        self._late_needs.keep(context.document, tuple(run.needs[known:]))

    def _require_unchanged(self, run: RunState) -> None:
        """Raises RunFailed when a file that is mapped into memory, as weights on the host are, was
        changed since it was loaded. The models from it are loaded again by the next run."""
        adapters = (adapter.changed_weights() for adapter in run.adapters)
        changes = dict.fromkeys([*self._cache.drop_changed(), *filter(None, adapters)])
        if changes:
            raise RunFailed(
                f"{'; '.join(changes)} during the run, whose results may come from half-changed "
                "weights",
                hints=["the next run loads them again", RetryRun()],
            )

    def _make_room(self, run: RunState) -> None:
        """Leave nothing of a failed attempt behind."""
        self._writer.settle()
        run.begin_again()
        self._pipeline, run.pipeline = run.pipeline, None
        self.recover()
        self._late_needs.forget()

    def _load(self, run: RunState) -> None:
        """Load what the run needs and drop what it does not, before anything is loaded, so that old
        and new models are never in memory together."""
        begun = time.monotonic()
        context = run.context
        run.needs = list(requirements(run, context.document, context.workflow))
        plan = self._plan(run)
        reason = self._reason(context.document, plan)
        labels = tuple(load.label for load in plan.loads)
        kept = tuple(plan.kept.values())
        context.emit(Planned(context.run_id, reason, kept, labels, plan.dropped))
        run.timings_s["plan"] = time.monotonic() - begun
        self._cache.keep_only(plan)
        if plan.dropped:
            run.device.empty_cache()
        # Only a warning: the estimate is of the weights, and the fallback can still offload them.
        if message := Footprint.of(plan.loads, run.device).overflow():
            run.warn(message)
        with failing(lambda: f"loading {run.step}"):
            self._cache.load(plan, before=run.loading)
        self._loaded = digest_of(context.document)
        run.timings_s["load"] = time.monotonic() - begun
        if reason != "cached":
            context.emit(Loaded(context.run_id, context.workflow.id, run.timings_s["load"]))

    def _plan(self, run: RunState) -> CachePlan:
        """Keeps what the last run needed because of its results if there is room: this run most
        likely needs it again."""
        late = self._late_needs.of(run.context.document) or ()
        present = [need for need in late if not self._cache.plan([need]).loads]
        plan = self._cache.plan([*run.needs, *present])
        if not Footprint.of(plan.loads, run.device).has_room():
            plan = self._cache.plan(run.needs)
        return plan

    def _reason(
        self, document: Document, plan: CachePlan
    ) -> Literal["first", "changed", "arguments", "cached"]:
        if self._loaded is None:
            return "first"
        if self._loaded != digest_of(document):
            return "changed"
        return "arguments" if plan.loads else "cached"

    # ------------------------------------------------------------------ before a run

    def check(self, document: Document) -> tuple[Diagnostic, ...]:
        """All that does not fit the installed classes in the document and its sub-workflows, as far
        as they have the right shape. Loads no model."""
        document, unknown = with_constants(document)
        return merge_stages(unknown, _check_classes(document))

    def check_models(self, document: Document, device: str | None = None) -> tuple[Diagnostic, ...]:
        """Errors of models that are here and cannot be loaded; notes on those that would be
        downloaded, with their size if the hub answers soon; warnings of models that are too large
        for the device; schedulers that do not fit their models; masks that mask nothing. Does not
        touch the device."""
        return (
            *check_model_files(document, self._find_device, device),
            *check_downloads(document, self._sources),
            *check_memory_fit(document, self._find_device, device),
            *check_schedulers(document, self._find_device, device),
            *check_masks(document),
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

    # ------------------------------------------------------------------ memory

    def memory(self) -> Memory:
        return cleanup.report(self._device or self._find_device(None), self._cache, self._runs)

    def clear(self) -> ClearReport:
        """Free every model. The next run loads again and is a first one."""
        self._loaded = self._pipeline = None
        self._late_needs.forget()
        self._fallback.forget()
        self._runs = 0
        return cleanup.free(self._device or self._find_device(None), self._cache, self._live_models)

    def recover(self) -> None:
        """Put the models right after a run that failed or was cancelled. Call it outside the
        `except` block, whose exception holds the tensors of every frame."""
        if self._is_poisoned:
            return
        pipeline, self._pipeline = self._pipeline, None
        cleanup.recover(pipeline, self._cache, self._device or self._find_device(None))

    def _find_device(self, wanted: str | None) -> Device:
        return choose_device(wanted, live_bytes=self._live_models.live_bytes)


def _require_disk(document: Document, workflow: Workflow, request: Run) -> None:
    """Raises RunFailed when the output folder cannot take the files, as far as they are known."""
    folder = Path(request.output_dir)
    found = list(extents(document, workflow, rehearse=request.rehearse))
    require_short(folder, workflow.id, found)
    require_room(folder, found)


def _check_classes(document: Document) -> Iterator[Diagnostic]:
    yield from check_workflow(document, document.partial(), trust=document.permissions.trust)
    for child in document.children.values():
        yield from _check_classes(child)


def _validated(document: Document, request: Run) -> tuple[Document, Workflow]:
    """The document with its constants imported, and the workflow with the arguments. Raises
    UsageError for them, and WorkflowError with all that is wrong at any stage of validation."""
    trust, arguments = document.permissions.trust, request.arguments
    document, unknown = with_constants(document)
    given = {name: argument_value(value, trust=trust) for name, value in arguments.items()}
    files = check_files(document, arguments, rehearse=request.rehearse, are_typed=request.are_typed)
    workflow, problems = document.validate(given)
    part = document.partial(given) if workflow is None else workflow
    findings = check_workflow(document, part, trust=trust)
    raise_on_errors(document.path, merge_stages(problems, unknown, files, findings))
    assert workflow is not None  # else there are errors
    return document, workflow
