"""Execution: the steps of a bound workflow, one after the other, sub-workflows in their step."""

from __future__ import annotations

import gc
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from PIL import Image

from dw.engine.calls.acceleration import usable
from dw.engine.calls.calling import call, method_of, seeded_generator, takes_generator
from dw.engine.calls.chain import Runner
from dw.engine.calls.finite import remedies, spoiled
from dw.engine.calls.gradients import without_gradients
from dw.engine.calls.ip_adapter import prepare_images
from dw.engine.calls.masks import with_masks
from dw.engine.calls.previews import previewing
from dw.engine.calls.remote_encoder import encoded
from dw.engine.calls.strangers import require_harmless
from dw.engine.calls.watching import watched, watching_modules
from dw.engine.checks.results import asked_size, frame_size
from dw.engine.errors import failing
from dw.engine.execution.chain_runner import chain_runner
from dw.engine.execution.comfyui_runner import comfyui_runner
from dw.engine.execution.iterations import iterations
from dw.engine.execution.origin import MadeBy
from dw.engine.execution.requirements import Adapters, adapters_of, wanted_changes
from dw.engine.execution.run import RunState
from dw.engine.execution.seeds import own_seed
from dw.engine.files.artifacts import Results, on_host
from dw.engine.files.file_names import file_names
from dw.engine.files.inputs import realize
from dw.engine.files.objects import built
from dw.engine.media.encoding import foreseen, is_muted
from dw.engine.memory.footprint import Footprint
from dw.engine.models import transformers_models
from dw.engine.models.assembly import assemble, replace_scheduler
from dw.engine.models.cache import StepRequirement
from dw.engine.models.model_state import (
    Change,
    States,
    apply,
    changed_models,
    constructed,
    has_only,
    rewind,
)
from dw.engine.models.spec import PipelineSpec, Placement
from dw.engine.models.task_models import TaskModels, visiting
from dw.engine.python import resolve
from dw.engine.python.signatures import call_parameters
from dw.engine.tasks import TaskContext, borrowed_by, models_of, require_fit, run_task
from dw.engine.tasks.generation import GeneratedTokens
from dw.events import Executing, StepStarted
from dw.rehearsal.arguments import FRAMES, FRAMES_OF, GIVEN, chosen, replacement_note, smaller
from dw.types import Spoiled
from dw.workflow import Document, Workflow
from dw.workflow.format.model import ACTIONS, Step, Task
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.references import PREVIOUS, result_references

_MUTED = (
    "step {0!r}: its video is saved without its audio, whose sample rate is unknown; "
    "'audio_sample_rate' in its result sets it"
)


class Execution:
    """One workflow being executed. `prefix`: of the names of its steps, in a sub-workflow."""

    def __init__(
        self,
        run: RunState,
        document: Document,
        workflow: Workflow,
        *,
        seed: int,
        prefix: str = "",
        chosen: Collection[str] = (),  # the variables that the user set
        allow_nan: bool = False,  # of the step around, in a sub-workflow
    ) -> None:
        self._run = run
        self._context = run.context
        self._document = document
        self._workflow = workflow
        self._seed = seed
        self._prefix = prefix
        self._chosen = chosen
        self._allow_nan = allow_nan
        self._planner = run.planner.beside(document.path.parent)
        self._access = self._planner.context.access
        self._trust = self._access.permissions.trust
        self._results = Results(step.name for step in workflow.steps)
        self._arguments: list[Any] = []

    def prepare(self) -> None:
        """Read the images and videos of all steps, before anything that takes long."""
        for step in self._workflow.steps:
            self._run.step = f"{self._prefix}{step.name}"
            with failing(self._run.where):
                arguments = step.arguments
                if step.comfyui is None:
                    realized = realize(arguments, access=self._access)
                else:  # names of its inputs name no types of Python
                    realized = {n: realize(v, access=self._access) for n, v in arguments.items()}
                self._arguments.append(built(realized, self._access))
                self._foretell(step, realized)

    def _foretell(self, step: Step, arguments: Any) -> None:
        """Warn of what will be otherwise in the files of a step, as far as its arguments tell."""
        pipeline = self._workflow.pipeline_of(step)
        if pipeline is not None and self._planner.context.needs_stand_in(pipeline):
            return  # a rehearsal chooses the sizes
        if step.result is not None and step.result.save:
            size = asked_size(arguments, {}) or frame_size(arguments)
            for message in foreseen(step.result, size):
                self._run.warn(message)

    def execute(self) -> list[Any]:
        """The results of the last step."""
        results: list[Any] = []
        for index, step in enumerate(self._workflow.steps):
            self._context.control.check()
            self._context.control.stepped(0, 0)
            self._run.step = f"{self._prefix}{step.name}"
            total = len(self._workflow.steps)
            self._context.emit(StepStarted(self._context.run_id, self._run.step, index + 1, total))
            with failing(self._run.where):
                results = list(self._step(step, index, self._arguments[index]))
            self._results.keep(step.name, results)
            # Models, and then images and videos, are freed as soon as no later step needs them.
            if step.release_models:
                self._release_models()
            if step.release_pipeline:
                self._release_pipeline(index)
            steps = self._workflow.steps[index + 1 :]
            later = [
                *self._arguments[index + 1 :],
                *(list(s.chain.prompts) for s in steps if s.chain),
            ]
            self._results.retain(text for _, text in result_references(later))
        return results

    # ------------------------------------------------------------------ models that are released

    def _release_pipeline(self, index: int) -> None:
        """Free what the pipeline of a step needed, unless another step needs it."""
        needs: dict[int, StepRequirement] = {}
        for number, step in enumerate(self._workflow.steps[index:], index):
            if (pipeline := self._workflow.pipeline_of(step)) is not None:
                spec = self._planner.pipeline(pipeline, self._workflow.sharers_of(pipeline))
                needs[number] = StepRequirement(f"{self._prefix}{step.name}", spec)
        if (released := needs.pop(index, None)) is None:
            return
        # Other pipelines may share its components; the cache keeps those.
        others = [n for n in self._run.needs if n.pipeline != released.pipeline]
        self._context.cache.release([released], still_needed=[*others, *needs.values()])
        self._run.device.empty_cache()

    def _release_models(self) -> None:
        """Free the models of tasks; those of pipelines stay."""
        of_tasks = [n for n in self._run.needs if n.pipeline.cls is TaskModels]
        others = [n for n in self._run.needs if n.pipeline.cls is not TaskModels]
        self._context.cache.release(of_tasks, still_needed=others)
        self._run.device.empty_cache()

    # ------------------------------------------------------------------ one step

    def _step(self, step: Step, index: int, arguments: Any) -> Iterator[Any]:
        """Yield the results of the step's iterations; each is saved as soon as it exists."""
        run, runner = self._run, self._runner(step, index)  # one for all iterations
        count = iterations_done = 0
        taken = run.stop.taken
        for each in self._iterations(step, arguments):
            if run.stop.taken > taken:  # in this step, or in a step inside it
                run.stop.cuts += 1
                return
            self._context.control.check()
            each = self._rehearsed(step, index, each)
            for result in runner(each):
                self._require_finite(step, result)
                self._save(step, index, result, count, each)
                count += 1
                yield result
            run.stop.take()  # a stop that came too late for the denoising
            iterations_done += 1
        if iterations_done == 0:
            self._context.warn(f"step {run.step!r} did nothing: a result that it takes is empty")

    def _rehearsed(self, step: Step, index: int, arguments: Any) -> Any:
        """The arguments, which a rehearsal makes smaller, so that it takes seconds."""
        pipeline = self._workflow.pipeline_of(step)
        if pipeline is None or not self._planner.context.needs_stand_in(pipeline):
            return arguments
        cls = self._planner.pipeline(pipeline, self._workflow.sharers_of(pipeline)).cls
        parameters = {} if resolve.is_modular(cls) else call_parameters(cls)
        kept = {*chosen(self._call(index), self._chosen), *(["num_frames"] if step.chain else [])}
        frames = FRAMES_OF.get(cls.__name__, FRAMES)
        replaced = smaller(parameters, arguments, kept, frames=frames)
        if note := replacement_note(arguments, replaced):
            self._run.warn(f"step {self._run.step!r}: {note}")
        return {**GIVEN.get(cls.__name__, {}), **arguments, **replaced}

    def _call(self, index: int) -> Mapping[str, Any]:
        """The arguments of a step as they stand in the file."""
        step = self._document.data["steps"][index]
        actions = [step[name] for name in ACTIONS if step.get(name)]
        return actions[0].get("arguments") or {} if actions else {}

    def _iterations(self, step: Step, arguments: Any) -> Iterator[Any]:
        items = arguments if step.task is not None and step.task.inputs is not None else [arguments]
        for item in items:
            for each in iterations(item, self._results.values):
                yield built(each, self._access)

    def _runner(self, step: Step, index: int) -> Runner:
        if (pipeline := self._workflow.pipeline_of(step)) is not None:
            runner = self._pipeline_runner(pipeline, step)
            if step.chain is None:
                return runner
            prompts = [
                self._results.first(text) if text.startswith(PREVIOUS) else text
                for text in step.chain.prompts
            ]
            stem = f"{self._workflow.id}-{step.name}"
            return chain_runner(self._run, step.chain, prompts, runner, stem)
        if step.task is not None:
            return self._task_runner(step.task, self._seed_of(step))
        if step.comfyui is not None:
            rehearse = self._planner.context.rehearse
            return comfyui_runner(
                run=self._run, action=step.comfyui, access=self._access, rehearse=rehearse
            )
        assert step.workflow is not None
        child = self._document.children[step.workflow.path]
        return lambda arguments: self._sub_workflow(child, arguments, step, index)

    def _seed_of(self, step: Step) -> int:
        own = own_seed(step)
        return self._seed if own is None else own

    # ------------------------------------------------------------------ runners

    def _pipeline_runner(self, pipeline: Pipeline, step: Step) -> Runner:
        prepared, run, seed = self._prepared(pipeline), self._run, self._seed_of(step)
        configuration = usable(
            pipeline.configuration, run.warn, rehearse=self._planner.context.rehearse
        )
        run.seeds[run.step] = seed
        # One for all iterations, which draw from it in turn: each makes another image.
        generator = seeded_generator(seed)
        extra = {}
        is_taken = takes_generator(prepared, method_of(configuration))
        if is_taken and not configuration.no_generator:
            extra["generator"] = generator
        encoder = None if self._planner.context.rehearse else pipeline.remote_text_encoder

        def runner(arguments: Mapping[str, Any]) -> list[Any]:
            if encoder is not None:
                arguments = encoded(arguments, encoder.url, self._access)
            given = {**with_masks(arguments, run.warn), **extra}
            if resolve.is_from_transformers(type(prepared)):
                # Pipelines of diffusers move their inputs themselves.
                given = transformers_models.on_its_device(prepared, given)
            if configuration.generate:
                counted = GeneratedTokens(given.get("max_new_tokens"), run.stop.cut)
                given = {"stopping_criteria": [counted], **given}
            require_harmless(given, target=prepared, trust=self._trust)
            with previewing(prepared, method_of(configuration), run) as shown:
                output = call(
                    prepared,
                    {**given, **shown},
                    self._context.control,
                    configuration=configuration,
                    warn=run.warn,
                    tell=lambda value: self._spoiled(step, value, prepared),
                )
            return output if isinstance(output, list) else [output]

        return runner

    def _task_runner(self, task: Task, seed: int) -> Runner:
        run, command = self._run, task.command
        generator = seeded_generator(seed)

        def runner(arguments: Any) -> list[Any]:
            require_harmless(arguments, trust=self._trust)
            require_fit(command, arguments)
            models, placement = self._models(task, arguments)
            if models:
                run.seeds[run.step] = seed
            context = TaskContext(
                access=self._access,
                check=self._context.control.check,
                models=models,
                device=placement.device,
                generator=generator,
                take_stop=run.stop.cut,
            )
            with (
                visiting(models, placement),
                watching_modules(watched(models.values()), self._context.control.check),
                without_gradients(models.values()),
            ):
                return [on_host(result) for result in run_task(command, arguments, context)]

        return runner

    def _models(self, task: Task, arguments: Any) -> tuple[Mapping[str, Any], Placement]:
        """The models that the task runs on, loaded, and where they are."""
        if (name := borrowed_by(task.command)) and task.pipeline_reference is not None:
            lender = self._workflow.pipeline_named(task.pipeline_reference)
            return {name: self._prepared(lender)} if lender else {}, Placement("cpu")
        wanted = models_of(task.command, arguments)
        if not wanted:
            return {}, Placement("cpu")
        device = arguments.get("device")
        spec = self._planner.task(wanted, device)
        if isinstance(wanted, Pipeline):
            return {"pipeline": self._prepared(wanted)}, spec.placement
        self._load_late(StepRequirement(self._run.step, spec))
        return self._context.cache.parts(spec), spec.placement

    # ------------------------------------------------------------------ models that are needed

    def _prepared(self, pipeline: Pipeline) -> Any:
        """The pipeline, assembled, with its schedulers, and its models with what is set on them."""
        sharers = self._workflow.sharers_of(pipeline)
        spec = self._planner.pipeline(pipeline, sharers)
        assembled = self._assembled(pipeline, spec)
        if resolve.is_from_transformers(spec.cls):
            return assembled
        # A pipeline that shares a scheduler takes the one that its owner's step sets.
        theirs = {n: each.schedulers[n] for n, each in sharers.items() if n in each.schedulers}
        for name, scheduler in {**theirs, **pipeline.schedulers}.items():
            replace_scheduler(assembled, name, scheduler, self._access)
        if pipeline.ip_adapter is not None:
            prepare_images(assembled)
        spec.offload(assembled)
        return assembled

    def _assembled(self, pipeline: Pipeline, spec: PipelineSpec) -> Any:
        """The pipeline of models that are changed as it wants, and in no other way."""
        run = self._run
        loras, ip_adapter = adapters = adapters_of(pipeline, spec, self._planner)
        files = {lora.fingerprint for lora in loras} | ({ip_adapter.name} if ip_adapter else set())
        run.used |= {f"{run.step}.{lora.title}": lora.fingerprint for lora in loras}
        if ip_adapter is not None:
            run.used[f"{run.step}.ip_adapter"] = ip_adapter.name
        if spec.placement.is_on_host:
            run.adapters |= files
        run.map(*files)

        if (unchanged := self._unchanged(pipeline, spec, adapters)) is not None:
            run.pipeline = unchanged
            return unchanged
        states, missing = self._rewound(pipeline, spec, adapters)
        run.pipeline = self._of_cached(spec)  # a stop and `recover` need it
        if changed := changed_models(run.pipeline, states):
            # By its constructor: once more, below all other changes.
            own = [constructed(changed)]
            states, missing = self._rewound(pipeline, spec, adapters, own)
            run.pipeline = self._of_cached(spec)
        apply(run.pipeline, states, missing)
        return run.pipeline

    def _of_cached(self, spec: PipelineSpec) -> Any:
        cache = self._context.cache
        return assemble(spec, cache.parts(spec), cache.schedulers(spec), cache.scalars(spec))

    def _unchanged(self, pipeline: Pipeline, spec: PipelineSpec, adapters: Adapters) -> Any:
        """The pipeline, if its models have what it wants and nothing else, as in a warm run: they
        are compared once then, behind the constructor."""
        states, wanted = self._wanted(pipeline, spec, adapters)
        if not has_only(states, wanted):
            return None
        assembled = self._of_cached(spec)
        return None if changed_models(assembled, states) else assembled

    def _wanted(
        self, pipeline: Pipeline, spec: PipelineSpec, adapters: Adapters
    ) -> tuple[States, list[Change]]:
        """The pipeline's models, loaded, and what it wants changed on them."""
        self._load_late(StepRequirement(self._run.step, spec))
        models = self._context.cache.models(spec)
        states = {name: model.state for name, model in models.items()}
        return states, wanted_changes(spec, pipeline.configuration, models, adapters)

    def _rewound(
        self, pipeline: Pipeline, spec: PipelineSpec, adapters: Adapters, own: Sequence[Change] = ()
    ) -> tuple[States, list[Change]]:
        """The pipeline's models, without what it does not want, and what they lack."""
        while True:
            states, wanted = self._wanted(pipeline, spec, adapters)
            missing, lost = rewind(states, [*own, *wanted])
            if not lost:
                return states, missing
            models = self._context.cache.models(spec)
            self._context.cache.forget(*(models[name] for name in lost))
            del models, states, wanted, missing  # old and new are never in memory together
            gc.collect()

    def _load_late(self, need: StepRequirement) -> None:
        """Load what is needed because of the results of earlier steps, or what an earlier step
        released."""
        run = self._run
        if all(need.pipeline != known.pipeline for known in run.needs):
            run.needs.append(need)
        if loads := self._context.cache.plan([need]).loads:
            needs = run.needs
            if not Footprint.of(loads, run.device).has_room():
                # Models of other tasks give way.
                needs = [n for n in needs if n.pipeline.cls is not TaskModels or n is need]
            # Drop first, load after: old and new models are never in memory together.
            plan = self._context.cache.plan(needs)
            self._context.cache.keep_only(plan)  # some may be of the run before
            if plan.dropped:
                run.device.empty_cache()
            self._context.cache.load(self._context.cache.plan([need]), before=run.loading)
            run.step = need.step
            self._context.emit(Executing(self._context.run_id, self._context.workflow.id))

    # ------------------------------------------------------------------ sub-workflows, results

    def _sub_workflow(
        self, child: Document, arguments: Mapping[str, Any], step: Step, index: int
    ) -> list[Any]:
        bound = child.bind(arguments)
        own = self._seed_of(step) if bound.seed is None else bound.seed
        outer = self._run.step
        execution = Execution(
            self._run,
            child,
            bound,
            seed=own,
            prefix=f"{self._prefix}{step.name}.",
            chosen=chosen(self._call(index), self._chosen),
            allow_nan=self._allow_nan or step.allow_nan,
        )
        execution.prepare()
        results = execution.execute()
        self._run.step = outer  # later iterations and errors belong to the parent's step
        return results

    def _spoiled(self, step: Step, value: Spoiled, pipeline: Any = None) -> None:
        """Raises RunFailed for a value that is not finite, unless the step allows it."""
        is_allowed = self._allow_nan or step.allow_nan
        self._run.spoiled(value, remedies(pipeline, value), is_allowed=is_allowed)

    def _require_finite(self, step: Step, result: Any) -> None:
        """Raises RunFailed like `_spoiled`. The steps of a sub-workflow have checked their own; a
        language model may give scores of minus infinity."""
        pipeline = self._workflow.pipeline_of(step)
        generates = pipeline is not None and pipeline.configuration.generate
        if step.workflow is None and not generates and (what := spoiled(result)) is not None:
            self._spoiled(step, Spoiled(what))

    def _save(self, step: Step, index: int, result: Any, result_index: int, arguments: Any) -> None:
        run, spec = self._run, step.result
        if spec is not None and spec.save:
            stem = f"{self._workflow.id}-{step.name}.{index}"
            pipeline = self._workflow.pipeline_of(step)
            made = MadeBy(run, step, pipeline, self._seed_of(step), arguments)
            metadata = made.metadata() if spec.embed_metadata else None
            for name, value in file_names(result, spec, stem, result_index):
                if is_muted(value, spec):
                    run.warn(_MUTED.format(run.step))
                self._compare_size(step, value, arguments)
                origin = made.origin(value)
                path = run.path(name)
                self._context.writer.write(run.step, path, value, spec, metadata, origin)
        run.collect(self._context.writer.done())

    def _compare_size(self, step: Step, image: Any, arguments: Any) -> None:
        """Warn of an image whose size differs from the one in the arguments."""
        if self._workflow.pipeline_of(step) is None or not isinstance(image, Image.Image):
            return
        made = {"width": image.width, "height": image.height}
        asked = {side: arguments.get(side) or pixels for side, pixels in made.items()}
        if asked != made:
            self._run.warn(
                f"step {self._run.step!r} made {made['width']}x{made['height']} pixels, "
                f"not the {asked['width']}x{asked['height']} that were asked for"
            )
