"""Loader arguments: names that no loader takes, and those that would have no effect where they
stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dw.engine.models.spec_builder import LOADER_ARGUMENTS
from dw.errors import did_you_mean
from dw.workflow.checks.loader_options import misplaced
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import JsonPath

_NOTHING_TO_LEAVE_OUT = "the pipeline has no such component that null would leave out"

_NOT_WITH_A_FILE = {
    "variant": "the file is the variant",
    "device_map": "'offload' in configuration places models",
}
_NOT_WITH_A_WHOLE_FILE = (
    "one file is read as it is; a component with a 'from_single_file' of its own takes it"
)


def check_loader_arguments(
    arguments: Mapping[str, Any], path: JsonPath, *, own: Iterable[str] = (), is_pipeline: bool
) -> Diagnostics:
    """`arguments`: at `path`; `own`: names that the class itself takes."""
    known = (*LOADER_ARGUMENTS, *own)
    for name, value in arguments.items():
        other = misplaced(name, arguments)
        if name not in known:
            hint = f": {_NOTHING_TO_LEAVE_OUT}" if value is None else did_you_mean(name, known)
            message = other or f"the loader takes no {name!r}{hint}"
            yield DataDiagnostic((*path, name), message, at_key=True)
        elif other is not None and value is not None and name in LOADER_ARGUMENTS:
            yield DataDiagnostic((*path, name), other, at_key=True)
        elif why := value is not None and _without_effect(name, value, arguments, is_pipeline):
            message = f"{name!r} would have no effect here: {why}"
            yield DataDiagnostic((*path, name), message, at_key=True)
        elif name == "force_download" and value is True:
            message = (
                "'force_download' would download the model in each run: remove it from the cache"
            )
            yield DataDiagnostic((*path, name), message, at_key=True)


def _without_effect(
    name: str, value: Any, arguments: Mapping[str, Any], is_pipeline: bool
) -> str | None:
    if "from_single_file" in arguments and name in _NOT_WITH_A_FILE:
        return _NOT_WITH_A_FILE[name]
    if "from_single_file" in arguments and name == "low_cpu_mem_usage" and is_pipeline:
        return _NOT_WITH_A_WHOLE_FILE
    if name == "config" and "from_single_file" not in arguments:
        return "it goes with 'from_single_file'; a folder has its own configs"
    if name == "subfolder" and is_pipeline and value:
        return "a pipeline is a whole folder; a component of it goes beside 'configuration'"
    return None
