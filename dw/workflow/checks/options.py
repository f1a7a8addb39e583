"""Options: arguments that lead to code, files or addresses, and what an untrusted workflow may say.

The libraries take such arguments in many places and pass them on: loaders, `generate`, processors,
quantization configs, whole objects of keywords. So one rule judges them by their names wherever a
workflow gives arguments. Where the names that a loader takes are not listed, as in transformers,
each must be a setting: a number, a word, or a group of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dw.extras import is_installed
from dw.workflow.checks.loader_options import misplaced
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.comfyui import is_for_comfyui
from dw.workflow.format.construction import text_in_braces
from dw.workflow.json_path import JsonPath, spell_value, walk
from dw.workflow.references import is_reference

_LOADER = "from_pretrained_arguments"
_WORD = re.compile(r"[\w+-][\w.+-]{0,99}", re.ASCII)
_WORDS = re.compile(r"[^/\\:<>{}%$`\x00-\x1f]{0,200}")
_REVISION = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*", re.ASCII)
_DEVICE = re.compile(r"(auto|balanced|balanced_low_0|sequential|(cpu|cuda|mps|xpu|npu|hpu)(:\d+)?)")
_MEMORY = re.compile(r"\d+(\.\d+)? ?[KMGT]?i?B?")

_CODE = {
    "allow_all_kernels": "kernels of any repository",
    "auto_map": "code that comes with a model",
    "code_revision": "code that comes with a model",
    "compile_config": "the compiler with options of its own",
    "custom_generate": "a function of a repository",
    "custom_revision": "code of a repository",
    "kernel_config": "kernels of a repository",
    "pipeline_class": "another class",
    "use_kernels": "kernels of a repository",
}
"""Options that have code run, and which."""

_FILES = frozenset(
    (
        *("adapter_kwargs", "audio_tokenizer", "chat_template_file", "class_info_file"),
        *("config_file", "custom_vae_path", "dduf_file", "download_dir", "fusion_config"),
        *("gguf_file", "local_dir", "merges_file", "mirror", "model_file", "offload_buffers"),
        *("offload_folder", "offload_state_dict", "original_config", "original_config_file"),
        *("provider", "provider_options", "proxies", "repo_path", "save_directory", "sess_options"),
        *(
            "sp_model_kwargs",
            "spm_file",
            "state_dict",
            "tokenizer_file",
            "tqdm_class",
            "vocab_file",
        ),
    )
)
"""Options that name files, folders and addresses which dw does not check, or what opens them."""

_PARTS = frozenset(
    (
        *("config", "feature_extractor", "generation_config", "image_processor", "processor"),
        *("quantization_config", "tokenizer", "video_processor"),
    )
)
"""Options of the loaders of transformers that stand for further models and their files."""

_PLACES = ("_dir", "_directory", "_file", "_files", "_folder", "_path", "_repo", "_url")
_TEXTS = frozenset(
    ("cache_dir", "chat_template", "from_single_file", "model", "model_name", "task", "token")
)
"""Options of loaders whose texts are judged elsewhere, or do no harm."""

COMPILE_OPTIONS = frozenset(
    (
        *("conv_1x1_as_mm", "coordinate_descent_tuning", "cudagraphs", "epilogue_fusion"),
        *("epilogue_fusion_first", "force_fuse_int_mm_with_mul", "freezing", "group_fusion"),
        *("max_autotune", "max_autotune_gemm", "max_autotune_pointwise", "permute_fusion"),
        *("reorder_for_locality", "shape_padding", "size_asserts", "split_reductions"),
        *("triton.cudagraph_trees", "triton.cudagraphs", "triton.unique_kernel_names"),
        *("use_mixed_mm",),
    )
)
"""The options of inductor that only tune; others name compilers and folders."""


def check_options(data: dict[str, Any], *, trust: bool) -> Diagnostics:
    """Arguments in the steps of a workflow that only the user's trust allows, or that are wrong."""
    for path, value in walk(data.get("steps"), ("steps",)):
        if is_for_comfyui(path) or not isinstance(path[-1], str):
            continue
        if isinstance(value, str) and is_reference(value):
            continue
        message = _shape_error(path, value)
        if message is None and not trust:
            message = option_error(path[-1], value) or _error_by_place(data, path, value)
        if message:
            other = _misplaced(data, path)
            yield DataDiagnostic(path, other or message, at_key=other is not None)


def _misplaced(data: Any, path: JsonPath) -> str | None:
    """The error for an option that the loaders of diffusers do not take: no trust allows it."""
    is_component = len(path) > len(("steps", 0, "pipeline", _LOADER, "name"))
    if path[-2:-1] != (_LOADER,):
        return None
    if not is_component and _class_above(data, path).startswith("transformers."):
        return None
    arguments = data
    for part in path[:-1]:
        arguments = arguments[part]
    return misplaced(str(path[-1]), arguments)


def option_error(name: str, value: Any) -> str | None:
    """The error for an argument that an untrusted workflow gives, wherever it stands."""
    if value is None or value is False:
        return None
    if name in _CODE:
        return _distrust(f"{name!r} would run {_CODE[name]}")
    if name == "trust_remote_code":
        return _distrust(f"{name!r} would run the code that comes with the model")
    if name == "custom_pipeline":
        return _distrust(f"{name!r} would run the pipeline {spell_value(value)}")
    if name in _FILES:
        return _distrust(f"{name!r} leads to files or addresses that are not checked")
    judge = _JUDGES.get(name)
    return judge(name, value) if judge else None


def option_errors(arguments: Any) -> Iterator[str]:
    """The errors for the arguments of a call, at any depth, when their values are known."""
    for path, value in _walk_values(arguments):
        if path and isinstance(path[-1], str) and (message := option_error(path[-1], value)):
            yield message


def setting_error(name: str, value: Any) -> str | None:
    """The error for an argument of a loader of transformers, which passes on what it does not
    know to a config, a tokenizer or a processor."""
    if value is None or name in _TEXTS or name in _JUDGES:
        return None
    for path, each in walk(value, (name,)):
        key = next(part for part in reversed(path) if isinstance(part, str))
        if key.startswith("_"):
            return _distrust(f"{key!r} is an internal option of the loader")
        if key in _PARTS:
            return _distrust(f"{key!r} leads to further files; a component has a place of its own")
        is_text = isinstance(each, str) and not is_reference(each)
        text = text_in_braces(key, each) or each
        if is_text and (key.endswith(_PLACES) or not _WORDS.fullmatch(text) or ".." in text):
            return _distrust(f"{key!r} must be a plain setting, got {spell_value(each)}")
    return None


def _error_by_place(data: Mapping[str, Any], path: JsonPath, value: Any) -> str | None:
    """The error of what is judged by its place: settings of transformers, and compilation."""
    if path[-2:-1] == (_LOADER,) and _class_above(data, path).startswith("transformers."):
        return setting_error(str(path[-1]), value)
    if path[-2:-1] == ("compile",):
        return _compile_error(str(path[-1]), value)
    if path[-3:-1] == ("compile", "options"):
        if path[-1] not in COMPILE_OPTIONS:
            known = ", ".join(sorted(COMPILE_OPTIONS))
            return _distrust(f"the option {path[-1]!r} of the compiler is none of {known}")
        if not isinstance(value, bool | int):
            return f"{path[-1]!r} must be true, false or a number, got {spell_value(value)}"
    return None


def _class_above(data: Any, path: JsonPath) -> str:
    """The class that the loader at `path` loads."""
    for part in path[:-2]:
        data = data[part]
    configuration = data.get("configuration")
    return str(configuration.get("component_type")) if isinstance(configuration, dict) else ""


def _compile_error(name: str, value: Any) -> str | None:
    known = {
        "backend": ("inductor", "cudagraphs", "eager", "aot_eager"),
        "mode": ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"),
    }.get(name)
    if known is None or value is None or value in known:
        return None
    return _distrust(f"{name!r} of the compiler must be one of {', '.join(known)}")


def _shape_error(path: JsonPath, value: Any) -> str | None:
    """The error for an option of a loader whose value has the wrong type, with trust as well."""
    name = path[-1]
    if path[-2:-1] != (_LOADER,) or value is None:
        return None
    if name == "custom_pipeline" and (not isinstance(value, str) or not value) and value:
        return f"{name!r} must be a string, got {spell_value(value)}"
    if name in _BOOLEANS and not isinstance(value, bool):
        return f"{name!r} must be true or false, got {spell_value(value)}"
    return None


_BOOLEANS = (
    *("force_download", "local_files_only", "low_cpu_mem_usage", "trust_remote_code"),
    *("use_safetensors",),
)

# ------------------------------------------------------------------ options with allowed values


def _attention(name: str, value: Any) -> str | None:
    """Names of transformers; a name with a slash is that of a repository of kernels, and without
    the package flash_attn its place is taken by such a one."""
    known = ["eager", "sdpa", "flex_attention"]
    if is_installed("flash_attn") or not is_installed("kernels"):
        known += ["flash_attention_2", "flash_attention_3", "flash_attention_4"]
    return _one_of(name, value, known)


def _experts(name: str, value: Any) -> str | None:
    return _one_of(name, value, ["eager", "grouped_mm", "batched_mm"])


def _one_of(name: str, value: Any, known: list[str]) -> str | None:
    values = value.values() if isinstance(value, dict) else (value,)
    for each in values:
        if isinstance(each, dict):
            return _one_of(name, each, known)
        if each is not None and each not in known and not _is_open(each):
            got = f"must be one of {', '.join(known)}, got {spell_value(each)}"
            return _distrust(f"{name!r} {got}")
    return None


def _attention_backend(name: str, value: Any) -> str | None:
    if isinstance(value, str) and value.endswith("_hub"):
        return _distrust(f"{name!r} {value!r} would run kernels of a repository")
    return None


def _device_map(name: str, value: Any) -> str | None:
    for each in value.values() if isinstance(value, dict) else (value,):
        is_device = isinstance(each, str) and _DEVICE.fullmatch(each)
        if not (is_device or type(each) is int or _is_open(each)):
            return _distrust(f"{name!r} must name devices, got {spell_value(each)}")
    return None


def _max_memory(name: str, value: Any) -> str | None:
    for each in value.values() if isinstance(value, dict) else (value,):
        is_size = isinstance(each, str) and _MEMORY.fullmatch(each)
        if not (is_size or isinstance(each, int | float)):
            return f"{name!r} must be sizes such as '10GB', got {spell_value(each)}"
    return None


def _inside(name: str, value: Any) -> str | None:
    """A file or folder within a model."""
    if isinstance(value, str) and not _is_open(value):
        parts = re.split(r"[/\\]", value)
        if ".." in parts or value.startswith(("/", "\\", "~")) or ":" in value or "\0" in value:
            return f"{name!r} must be inside the model, got {spell_value(value)}"
    return None


def _matching(pattern: re.Pattern[str], kind: str) -> Callable[[str, Any], str | None]:
    def judge(name: str, value: Any) -> str | None:
        if _is_open(value) or (isinstance(value, str) and pattern.fullmatch(value)):
            return None
        return f"{name!r} must be {kind}, got {spell_value(value)}"

    return judge


def _is_open(value: Any) -> bool:
    """Whether it refers to a value that is not known yet."""
    return isinstance(value, str) and is_reference(value)


_JUDGES: Mapping[str, Callable[[str, Any], str | None]] = {
    "_attn_implementation": _attention,
    "_experts_implementation": _experts,
    "attention_backend": _attention_backend,
    "attn_implementation": _attention,
    "device_map": _device_map,
    "experts_implementation": _experts,
    "filename": _inside,
    "max_memory": _max_memory,
    "revision": _matching(_REVISION, "the name of a branch, a tag or a commit"),
    "subfolder": _inside,
    "variant": _matching(_WORD, "a word such as fp16"),
    "weight_name": _inside,
}


def values_in(node: Any) -> Iterator[Any]:
    """Every value in the arguments of a call."""
    return (value for _, value in _walk_values(node))


def _walk_values(node: Any, path: JsonPath = ()) -> Iterator[tuple[JsonPath, Any]]:
    """Like `walk`, through any mapping and sequence."""
    yield path, node
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _walk_values(value, (*path, key))
    elif isinstance(node, list | tuple):
        for index, value in enumerate(node):
            yield from _walk_values(value, (*path, index))


def _distrust(error: str) -> str:
    return f"{error}; the setting 'trust' allows it"
