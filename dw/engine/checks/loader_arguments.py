"""Loader arguments: names that no loader takes, and those that would have no effect where they
stand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dw.engine.models.spec_builder import LOADER_ARGUMENTS
from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.json_path import JsonPath

_MEMORY = "'offload' and 'group_offload' in configuration keep models in host memory or on disk"
_PROXIES = "the environment sets the hub's address, HF_ENDPOINT, and proxies, HTTPS_PROXY"
_ONNX = "ONNX models are not supported"
_NOTHING_TO_LEAVE_OUT = "the pipeline has no such component that null would leave out"
_FILE = "a file is named by 'from_single_file'"

WAYS_OUT = {
    **dict.fromkeys(
        ("ckpt_name", "checkpoint", "ckpt_path", "pretrained_model_link_or_path"), _FILE
    ),
    **dict.fromkeys(
        ("pretrained_model_name_or_path", "repo_id"), "a model is named by 'model_name'"
    ),
    **dict.fromkeys(("max_memory", "offload_folder", "offload_state_dict"), _MEMORY),
    **dict.fromkeys(("mirror", "proxies"), _PROXIES),
    **dict.fromkeys(("provider", "use_onnx"), _ONNX),
    "dduf_file": "DDUF archives are not supported; unpack it and name the folder as 'model_name'",
    "device": "'device' goes into configuration",
    "ignore_mismatched_sizes": "weights of another size would be replaced by random ones",
    "load_connected_pipeline": "each pipeline is a step of its own",
    "original_config": "'config' names a folder of diffusers' configs",
    "original_config_file": "'config' names a folder of diffusers' configs",
    "output_loading_info": "weights that are missing or not used are errors",
    "requires_safety_checker": "the pipeline has no safety checker",
    "resume_download": "downloads are resumed",
    "use_auth_token": "'token' is its name",
    "use_flashpack": "weights are read from safetensors files",
}
"""Arguments of diffusers' loaders and of other programs, with what there is instead."""

_NOT_WITH_A_FILE = {
    "variant": "the file is the variant",
    "device_map": "'offload' in configuration places models",
}


def check_loader_arguments(
    arguments: Mapping[str, Any], path: JsonPath, *, own: Iterable[str] = (), is_pipeline: bool
) -> Diagnostics:
    """`arguments`: at `path`; `own`: names that the class itself takes."""
    known = (*LOADER_ARGUMENTS, *own)
    for name, value in arguments.items():
        if name not in known:
            way = WAYS_OUT.get(name) or (_NOTHING_TO_LEAVE_OUT if value is None else None)
            hint = f": {way}" if way else did_you_mean(name, known)
            message = f"the loader takes no {name!r}{hint}"
            yield DataDiagnostic((*path, name), message, at_key=True)
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
    if name == "custom_revision" and "custom_pipeline" not in arguments:
        return "it goes with 'custom_pipeline'; 'revision' is that of the model"
    if name == "config" and "from_single_file" not in arguments:
        return "it goes with 'from_single_file'; a folder has its own configs"
    if name == "subfolder" and is_pipeline and value:
        return "a pipeline is a whole folder; a component of it goes beside 'configuration'"
    return None
