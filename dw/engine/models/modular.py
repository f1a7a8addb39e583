"""Modular pipelines: built of blocks around components of the cache.

A repository names its pipeline's class and the place of each component, which may be in another
repository. diffusers reads that and builds the pipeline without its components; dw loads them, so
that they are shared and kept like those of other pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from inspect import Parameter
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import AutoModel, ComponentsManager, ModularPipeline
from diffusers.modular_pipelines import (
    LoopSequentialPipelineBlocks,
    ModularPipelineBlocks,
    SequentialPipelineBlocks,
)
from diffusers.modular_pipelines.components_manager import CustomOffloadHook
from diffusers.modular_pipelines.modular_pipeline import PipelineState
from diffusers.modular_pipelines.modular_pipeline_utils import INPUT_PARAM_TEMPLATES, InputParam

from dw.engine.files.access import FileAccess
from dw.engine.models.source import Sources
from dw.engine.models.spec import PipelineSpec
from dw.engine.python.annotations import takes_tuple
from dw.engine.python.signatures import library_class
from dw.errors import RunFailed, TrustWorkflow, WorkflowError, did_you_mean, told
from dw.workflow.format.configuration import Configuration
from dw.workflow.format.modular import RESERVE
from dw.workflow.format.pipeline import Pipeline

OPTIONS = ("workflow", "trust_remote_code")


@dataclass(frozen=True)
class Place:
    """Where a component of a modular pipeline is. `cls`: None when its config names it."""

    cls: Any
    folder: Path | None  # of the component, when it is beside the index
    model_name: str
    subfolder: str | None
    options: Mapping[str, Any]  # variant and revision, if any

    def find(self, sources: Sources, access: FileAccess, options: Mapping[str, Any]) -> Path:
        """Its folder; downloads it when it is not cached."""
        if self.folder is not None:
            return self.folder
        own = {"revision": None, **self.options}  # the workflow's are those of its own repository
        hub = {n: v for n, v in {**options, **own}.items() if v is not None}
        return sources.component(self.model_name, self.subfolder, access=access, options=hub)


@dataclass(frozen=True)
class Blueprint:
    """How to build a modular pipeline without its components. `folder` has the index."""

    cls: Any
    folder: Path
    options: tuple[tuple[str, Any], ...]

    def read(self, sources: Sources, *, trust: bool) -> Any:
        """The pipeline without components. Raises WorkflowError when building it would import from
        unknown packages, or run code of its own, without `trust`; RunFailed when it cannot be
        built."""
        blocks = self.folder / "modular_config.json"
        if not trust and blocks.is_file() and "auto_map" in sources.json(blocks):
            raise WorkflowError(
                f"the blocks of {str(self.folder)!r} are code of its own",
                hints=[TrustWorkflow("you trust it")],
            )
        _check_index(sources.modular_index(self.folder), trust=trust)
        options = dict(self.options)
        if (workflow := options.pop("workflow", None)) is not None:
            whole = replace(self, options=tuple(options.items()))
            selected(whole.build()._blocks, workflow)
        return self.build()

    def build(self) -> Any:
        options = dict(self.options)
        try:
            if self.cls is ModularPipeline:
                return ModularPipeline.from_pretrained(str(self.folder), **options)
            options.pop("trust_remote_code", None)
            return self.cls(pretrained_model_name_or_path=str(self.folder), **options)
        except (AttributeError, ImportError, OSError, TypeError, ValueError) as error:
            raise RunFailed(
                f"{str(self.folder)!r} cannot be built as a modular pipeline: {told(error)}"
            ) from error


@dataclass(frozen=True, slots=True, kw_only=True)
class ModularSpec(PipelineSpec):
    """A modular pipeline to assemble. `blocks` are those of `blueprint`."""

    blueprint: Blueprint
    configs: Mapping[str, Any]
    reserve: str  # of the device's memory, when components are moved there as they are needed
    blocks: Any = field(compare=False)

    def build(self, parts: Mapping[str, Any], _scalars: Mapping[str, Any]) -> Any:
        pipeline = self.blueprint.build()
        given = {name: part for name, part in parts.items() if part is not None}
        pipeline.update_components(**given, **self.configs)
        for loop in _loops(pipeline._blocks):
            loop.loop_step = _skipping(loop.loop_step)
        return pipeline

    def offload(self, pipeline: Any) -> None:
        if self.placement.offload in ("model", "sequential"):
            _offload(pipeline, self.placement.device, self.reserve)


def options(pipeline: Pipeline) -> tuple[tuple[str, Any], ...]:
    """The arguments of from_pretrained that decide how the pipeline is built."""
    given = pipeline.from_pretrained_arguments
    return tuple((name, given[name]) for name in OPTIONS if given.get(name) is not None)


def reserve(configuration: Configuration) -> str:
    """The device's memory that components must leave free."""
    manager = configuration.components_manager
    return RESERVE if manager is None else manager.memory_reserve_margin


def is_wanted(name: str, configuration: Configuration) -> bool:
    """Whether the workflow has the component loaded."""
    loads = configuration.load_components
    return loads is None or not loads.names or name in loads.names


def places(skeleton: Any) -> dict[str, Place]:
    """The places of the components that are loaded; others are made from their config."""
    home = str(skeleton._pretrained_model_name_or_path)
    found = {}
    for name, spec in skeleton._component_specs.items():
        model_name = spec.pretrained_model_name_or_path
        if spec.default_creation_method != "from_pretrained" or not model_name:
            continue
        inside = spec.subfolder or None
        folder = Path(home, inside or "") if str(model_name) == home else None
        options = {"variant": spec.variant, "revision": spec.revision}
        if folder is None or folder.is_dir():  # otherwise the model does not have it
            found[name] = Place(spec.type_hint, folder, str(model_name), inside, options)
    return found


def _check_index(index: Mapping[str, Any], *, trust: bool) -> None:
    """Raises WorkflowError when an index names classes outside the known packages: building the
    pipeline imports them."""
    for entry in index.values():
        if not isinstance(entry, list | tuple):
            continue
        hints = [part.get("type_hint") for part in entry if isinstance(part, Mapping)]
        for library, name, *_ in [entry, *filter(None, hints)]:
            if isinstance(library, str) and isinstance(name, str):
                library_class(library, name, trust=trust)


def own_class(config: Mapping[str, Any]) -> Any:
    """The class that a component's config names."""
    library = "diffusers" if "_class_name" in config else "transformers"
    name = config.get("_class_name") or next(iter(config.get("architectures") or ()), None)
    return AutoModel if name is None else library_class(library, name)


@lru_cache(maxsize=32)
def default_blocks(cls: Any) -> Any:
    """The default blocks of a class of modular pipelines; None when its model names them."""
    return getattr(diffusers, cls.default_blocks_name)() if cls.default_blocks_name else None


def selected(blocks: ModularPipelineBlocks, workflow: Any) -> ModularPipelineBlocks:
    """The blocks of one of their workflows. Raises WorkflowError when they have none of this
    name."""
    try:
        known = list(blocks.available_workflows)
    except NotImplementedError:  # diffusers raises this for blocks without workflows
        known = []
    if workflow not in known:
        near = did_you_mean(workflow, known) if isinstance(workflow, str) else ""
        hint = near or f"; it has {', '.join(known) or 'none'}"
        raise WorkflowError(f"{type(blocks).__name__} has no workflow {workflow!r}{hint}")
    return blocks.get_workflow(workflow)


def call_parameters(blocks: ModularPipelineBlocks) -> dict[str, Parameter]:
    """What a call takes: the inputs of the pipeline's blocks, and `output`, the result's name.

    Only numbers and tuples are annotated: blocks say `str` where they also take a list of strings.
    """
    known = {each.name or each.kwargs_type: _type(each) for each in blocks.inputs}
    return {
        name: Parameter(name, Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in {**known, "output": Any}.items()
        if name
    }


def _type(parameter: InputParam) -> Any:
    usual = INPUT_PARAM_TEMPLATES.get(parameter.name, {}).get("type_hint")
    hint = parameter.type_hint or usual
    if hint is None and (type(parameter.default) is tuple or parameter.name in _SIZES):
        return tuple
    return hint if hint in (int, float) or takes_tuple(hint) else Any


_SIZES = ("original_size", "target_size", "negative_original_size", "negative_target_size")
"""Of the blocks of Stable Diffusion XL, without a type: they are joined to corners, tuples."""


def outputs(pipeline: Any, result: Any) -> Any:
    """The result of a call, without the intermediate values of its blocks."""
    if not isinstance(result, PipelineState):
        return result
    blocks = pipeline._blocks
    if type(blocks) is SequentialPipelineBlocks:  # those of one workflow, which name everything
        blocks = default_blocks(pipeline.__class__) or blocks
    return {name: result.get(name) for name in blocks.output_names}


def _offload(pipeline: Any, device: str, reserve: str) -> None:
    """Let each component come to the device when it runs, and stay while there is room."""
    manager = ComponentsManager()
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            manager.add(name, part)
    manager.enable_auto_cpu_offload(device=device, memory_reserve_margin=reserve)


def free_hooks(pipeline: Any) -> None:
    """What `maybe_free_model_hooks` does for other pipelines: moves offloaded components off the
    device, and resets step caches."""
    for part in pipeline.components.values():
        if isinstance(hook := getattr(part, "_hf_hook", None), CustomOffloadHook):
            hook.init_hook(part)
        if hasattr(part, "_reset_stateful_cache"):
            part._reset_stateful_cache()


def _loops(blocks: ModularPipelineBlocks) -> Iterator[Any]:
    """The denoising loops among the blocks."""
    if isinstance(blocks, LoopSequentialPipelineBlocks):
        yield blocks
    for block in blocks.sub_blocks.values():
        yield from _loops(block)


def _skipping(loop_step: Callable[..., Any]) -> Callable[..., Any]:
    """The step of a denoising loop, skipped after an interrupt, as other pipelines do."""

    def step(components: Any, state: Any, **kwargs: Any) -> Any:
        if not getattr(components, "_interrupt", False):
            return loop_step(components, state, **kwargs)
        components._skips_steps = True  # its bar goes on counting
        return components, state

    return step
