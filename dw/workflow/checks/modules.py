"""Modules: where the classes and values that a workflow names may come from.

Importing a module runs it. The ones listed define models, pipelines, schedulers and their
configurations; the commands, scripts and test tools of the same packages are not among them.
"""

from __future__ import annotations

import re

MODULES: dict[str, str] = {
    "accelerate": "",
    "bitsandbytes": "",
    "controlnet_aux": "",
    "diffusers": r"(callbacks|guiders|hooks|image_processor|modular_pipelines|models|pipelines"
    r"|quantizers|schedulers|video_processor)(\.[a-z]\w*)*",
    "gguf": "",
    "optimum": "quanto",
    "peft": "",
    "sdnq": "",
    "torch": "",
    "torchao": r"quantization(\.quant_api|\.granularity)?",
    "transformers": r"generation(\.configuration_utils)?|image_utils|utils\.quantization_config"
    r"|models(\.[a-z]\w*(\.(configuration|feature_extraction|image_processing|modeling"
    r"|processing|tokenization|video_processing)_\w+)?)?",
}
"""The known packages, and the pattern of the modules in each that a workflow may name, besides the
package itself."""

TRUSTED_PACKAGES = tuple(MODULES)

FUNCTIONS = ("transformers.pipeline",)
"""What a workflow may name although it is no class."""

# fmt: off
DTYPES = frozenset((
    "bfloat16", "bool", "complex64", "complex128", "double", "float", "float16", "float32",
    "float64", "float4_e2m1fn_x2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2",
    "float8_e5m2fnuz", "float8_e8m0fnu", "half", "int8", "int16", "int32", "int64", "uint8",
    "uint16", "uint32", "uint64",
))
# fmt: on
_CLASS = re.compile(r"[A-Z]\w*", re.ASCII)


def module_error(name: str) -> str | None:
    """Why a workflow may not import a module, as a clause about it; None when it may."""
    package, _, inner = name.partition(".")
    if package not in MODULES:
        return f"which is not in the known packages ({', '.join(TRUSTED_PACKAGES)})"
    if inner and not re.fullmatch(MODULES[package], inner, re.ASCII):
        return "which is not in a module of models and their configurations"
    return None


def class_error(name: str) -> str | None:
    """Why a workflow may not name the class or dtype with this dotted name, as far as the name
    shows; a clause about it."""
    module, _, attribute = name.rpartition(".")
    if error := module_error(module or "diffusers"):
        return error
    is_dtype = module == "torch" and attribute in DTYPES
    is_known = is_dtype or name in FUNCTIONS or _CLASS.fullmatch(attribute)
    return None if is_known else "which is not the name of a class"
