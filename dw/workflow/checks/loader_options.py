"""Loader options: what other loaders and programs take, and what there is here instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_MEMORY = "'offload' and 'group_offload' in configuration keep models in host memory or on disk"
_PROXIES = "the environment sets the hub's address, HF_ENDPOINT, and proxies, HTTPS_PROXY"
_ONNX = "ONNX models are not supported"
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


def misplaced(name: str, arguments: Mapping[str, Any]) -> str | None:
    """The error for an argument that only other loaders take, or that goes with another one."""
    if name == "custom_revision" and not arguments.get("custom_pipeline"):
        goes_with = "it goes with 'custom_pipeline'; 'revision' is that of the model"
        return f"{name!r} would have no effect here: {goes_with}"
    way = WAYS_OUT.get(name)
    return f"the loader takes no {name!r}: {way}" if way else None
