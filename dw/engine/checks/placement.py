"""Placement and quantization: a workflow against the installed classes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import Any

from diffusers import PipelineQuantizationConfig

from dw.engine.models.quantization import (
    config_class,
    config_parameters,
    is_of_pipelines,
    of_one_component,
)
from dw.engine.python.keywords import unknown_argument
from dw.errors import WorkflowError, did_you_mean
from dw.extras import missing_package
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.format.placement import Quantization
from dw.workflow.json_path import JsonPath, spell_value

DEVICE_MAPS = ("balanced", "cpu", "cuda")
"""The values that diffusers takes for a whole pipeline; for one component it takes more."""


def check_placement(
    title: str, components: Iterable[str], pipeline: Pipeline, path: JsonPath
) -> Diagnostics:
    """Component names that a pipeline class does not have; messages call it `title`."""
    known = tuple(components)
    device_map = pipeline.from_pretrained_arguments.get("device_map")
    if device_map is not None and device_map not in DEVICE_MAPS:
        choices, got = ", ".join(map(repr, DEVICE_MAPS)), spell_value(device_map)
        message = f"'device_map' of a pipeline must be one of {choices}, got {got}"
        yield DataDiagnostic((*path, "from_pretrained_arguments", "device_map"), message)
    if (whole := pipeline.quantization) is not None and not is_of_pipelines(whole):
        yield DataDiagnostic((*path, "configuration"), of_one_component(whole))
    for where, name in _named(pipeline):
        if (component := name.partition(".")[0]) not in known:
            message = no_component(title, component, known)
            yield DataDiagnostic((*path, *where), message, at_key=where[-1] == name)


def no_component(title: str, name: str, known: Collection[str]) -> str:
    hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
    return f"{title} has no component {name!r}{hint}"


def check_settings(pipeline: Pipeline, path: JsonPath, *, trust: bool) -> Diagnostics:
    """The quantization of the pipeline and its components, which needs no pipeline class."""
    for where, quantization in _quantizations(pipeline):
        yield from _check_quantization(quantization, (*path, *where), trust)


def _named(pipeline: Pipeline) -> Iterator[tuple[JsonPath, str]]:
    """The JSON path of each component name in the configuration, and that name."""
    configuration = pipeline.configuration
    for name in (*configuration.components, *configuration.settings):
        parent = "components" if name in configuration.components else None
        yield tuple(filter(None, ("configuration", parent, name))), name
    lists = {
        "exclude_from_cpu_offload": configuration.exclude_from_cpu_offload,
        "sdnq_optimize": configuration.sdnq_optimize,
    }
    for key, listed in lists.items():
        yield from ((("configuration", key, i), name) for i, name in enumerate(listed))
    for holder, prefix in ((pipeline, ()), (configuration, ("configuration",))):
        if (grouping := holder.group_offload) is not None:
            where = (*prefix, "group_offload", "exclude_modules")
            yield from (((*where, i), name) for i, name in enumerate(grouping.exclude_modules))


def _quantizations(pipeline: Pipeline) -> Iterator[tuple[JsonPath, Quantization]]:
    holders: list[tuple[JsonPath, Any]] = [((), pipeline)]
    holders += [((name,), component) for name, component in pipeline.components.items()]
    for path, holder in holders:
        for where, found in (
            ((), holder.quantization_config),
            (("configuration",), holder.configuration.quantization_config),
        ):
            if found is not None:
                yield (*path, *where, "quantization_config"), found
    if (loads := pipeline.configuration.load_components) is not None:
        here = ("configuration", "load_components", "quantization_config")
        yield from (((*here, name), each) for name, each in loads.quantization_config.items())


def _check_quantization(quantization: Quantization, path: JsonPath, trust: bool) -> Diagnostics:
    name = quantization.config_type
    if "." in name and missing_package(name):
        return  # a warning of the document; an error of the run, unless it is a rehearsal
    try:
        cls = config_class(name, trust=trust)
    except WorkflowError as error:
        yield DataDiagnostic((*path, "configuration", "config_type"), error.message)
        return
    parameters = config_parameters(cls)
    for argument in quantization.arguments:
        if message := unknown_argument(cls.__name__, argument, parameters, cls.__init__):
            yield DataDiagnostic((*path, "arguments", argument), message, at_key=True)
    if cls is not PipelineQuantizationConfig:
        return
    given = quantization.arguments
    if ("quant_backend" in given) == ("quant_mapping" in given):
        message = "one of 'quant_backend' and 'quant_mapping' must be given"
        yield DataDiagnostic((*path, "arguments"), message)
    if not isinstance(given.get("quant_mapping", {}), dict):
        got = spell_value(given["quant_mapping"])
        where = (*path, "arguments", "quant_mapping")
        yield DataDiagnostic(where, f"'quant_mapping' must be an object, got {got}")
