"""Transformers models: a step against the class of transformers that it names."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any

from dw.engine.models.spec_builder import LOADER_ARGUMENTS
from dw.engine.models.transformers_models import PIPELINE, SOURCES
from dw.engine.python.keywords import keywords, unknown_generation_argument
from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.json_path import JsonPath


def check_transformers_class(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    """What is wrong before anything loads. What the call of a processor, or of a model whose class
    its files name, takes is known only once it is loaded."""
    arguments, where = pipeline.from_pretrained_arguments, (*path, "from_pretrained_arguments")
    source = next((name for name in SOURCES if name in arguments), None)
    for name in pipeline.components if source is not None else ():
        message = f"{name!r} cannot be beside a {source!r}: {cls.__name__} is loaded whole"
        yield DataDiagnostic((*path, name), message, at_key=True)
    if cls.__name__ == PIPELINE:
        yield from _check_task(arguments.get("task"), where)
        if source is None and "model" not in pipeline.components:
            yield DataDiagnostic(
                where, "a pipeline of transformers needs 'model', here or as a component"
            )
    elif source is None and not pipeline.components:
        yield DataDiagnostic(where, f"{cls.__name__} needs a 'model_name'")
    if hasattr(cls, "config_class"):
        yield from _check_loader(cls, arguments, where)
        if pipeline.configuration.generate:
            yield from _check_generate(cls, pipeline, path)


def _check_loader(cls: Any, arguments: Mapping[str, Any], where: JsonPath) -> Diagnostics:
    """Names that are neither options of the loader nor settings of the model's config."""
    from transformers import PreTrainedModel

    config = cls.config_class
    known = {*SOURCES, *LOADER_ARGUMENTS, *signature(config).parameters, *config.attribute_map}
    for loader in (cls.from_pretrained, PreTrainedModel.from_pretrained):  # one may call the other
        known |= {*signature(loader).parameters, *keywords(loader)[0]}
    for name in arguments.keys() - known:
        near = did_you_mean(name, known)
        hint = near or f"; beside its options it takes the settings of {config.__name__}"
        yield DataDiagnostic((*where, name), f"the loader takes no {name!r}{hint}", at_key=True)


def _check_generate(cls: Any, pipeline: Pipeline, path: JsonPath) -> Diagnostics:
    if not hasattr(cls, "generate"):
        where = (*path, "configuration", "generate")
        yield DataDiagnostic(where, f"{cls.__name__} has no 'generate'", at_key=True)
        return
    for name in pipeline.arguments:
        if message := unknown_generation_argument(name, cls):
            yield DataDiagnostic((*path, "arguments", name), message, at_key=True)


def _check_task(task: Any, where: JsonPath) -> Diagnostics:
    from transformers.pipelines import get_supported_tasks

    known = get_supported_tasks()
    if task is None:
        yield DataDiagnostic(
            where, f"a pipeline of transformers needs a 'task': {', '.join(known)}"
        )
    elif task not in known:
        hint = did_you_mean(str(task), known) or f"; known are {', '.join(known)}"
        yield DataDiagnostic((*where, "task"), f"transformers has no task {task!r}{hint}")
