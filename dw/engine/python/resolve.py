"""Type names in a workflow, turned into Python classes and dtypes.

A name without a dot is an attribute of diffusers, one with dots is `module.attribute`. Importing
runs code, so only known packages are imported unless the user trusts the workflow; and what a name
gives must be of the kind that its place asks for.
"""

from __future__ import annotations

import copy
import importlib
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin

from dw.errors import TrustWorkflow, WorkflowError, did_you_mean
from dw.extras import missing_package
from dw.workflow.checks.classes import TRUSTED_PACKAGES
from dw.workflow.checks.constants import constant_error, constant_path

MODULAR = "ModularPipeline"
AUTO_CLASSES = {
    "AutoPipelineForText2Image": ("AUTO_TEXT2IMAGE_PIPELINES_MAPPING", ""),
    "AutoPipelineForImage2Image": ("AUTO_IMAGE2IMAGE_PIPELINES_MAPPING", "Img2Img"),
    "AutoPipelineForInpainting": ("AUTO_INPAINT_PIPELINES_MAPPING", "Inpaint"),
}


_OF_VALUES = ("builtins", "collections", "numpy")
"""Modules whose classes hold plain values."""


def resolve(name: str, *, trust: bool = False) -> Any:
    """What `name` stands for; a name in braces stands for its own text.

    Raises WorkflowError, without a position, for a package that is not known and for a missing
    name.
    """
    if name.startswith("{") and name.endswith("}"):
        return name[1:-1]
    module_name, _, attribute = name.rpartition(".")
    return _attribute(_module(module_name or "diffusers", name, trust), attribute)


def dtype(value: Any) -> torch.dtype:
    """`torch.bfloat16` or `bfloat16`, or a dtype itself. None is float32, as diffusers has it."""
    if value is None:
        return torch.float32
    if isinstance(value, torch.dtype):
        return value
    if isinstance(value, str):
        name = value.strip("{}").removeprefix("torch.")
        if isinstance(found := getattr(torch, name, None), torch.dtype):
            return found
        known = [n for n, v in vars(torch).items() if isinstance(v, torch.dtype)]
        raise WorkflowError(f"{value!r} is not a dtype{did_you_mean(name, known)}")
    raise WorkflowError(f"a dtype is a name such as 'torch.bfloat16', got {value!r}")


def python_class(name: str, *, trust: bool = False) -> Any:
    """The class that an argument names, or a dtype."""
    found = resolve(name, trust=trust)
    if isinstance(found, torch.dtype):
        return found
    if not isinstance(found, type):
        raise WorkflowError(f"{name!r} is not a class")
    _refuse_foreign(found.__module__, name, trust)  # what a known package imported for itself
    return found


def constant(text: str, *, trust: bool = False) -> Any:
    """The value of `constant:NAME`. A list, set or dict is a copy, so that a run cannot change
    the module's own.

    Raises WorkflowError, without a position, for what is not there, must not be imported or is no
    value.
    """
    if message := constant_error(text, trust=trust):
        raise WorkflowError(message)
    found, rest = _longest_module(constant_path(text), text, trust)
    for attribute in rest:
        found = _attribute(found, attribute)
        if isinstance(found, ModuleType):  # os is an attribute of torch
            _refuse_foreign(found.__name__, text, trust)
    if callable(found) or isinstance(found, ModuleType):
        kind = "module" if isinstance(found, ModuleType) else "function or a class"
        raise WorkflowError(f"{text!r} is a {kind}, not a value")
    if (owner := type(found).__module__) not in _OF_VALUES:  # os.environ may be imported anywhere
        _refuse_foreign(owner, text, trust)
    return copy.deepcopy(found) if isinstance(found, list | dict | set | torch.Tensor) else found


def _longest_module(path: list[str], text: str, trust: bool) -> tuple[Any, list[str]]:
    """The longest leading part that can be imported, and the attributes that follow it."""
    found = _module(path[0], text, trust)
    for index in range(1, len(path)):
        name = ".".join(path[: index + 1])
        try:
            is_module = find_spec(name) is not None
        except ModuleNotFoundError:  # what stands before is no package
            is_module = False
        if not is_module:
            return found, path[index:]
        found = _module(name, text, trust)
    return found, []


def pipeline_class(name: str, *, trust: bool = False) -> Any:
    """The class of a pipeline; `is_generic` ones stand for what the model's own index names."""
    found = resolve(name, trust=trust)
    if is_generic(found) or is_modular(found) or is_from_transformers(found):
        return found
    if isinstance(found, type) and issubclass(found, DiffusionPipeline):
        return found
    raise WorkflowError(f"{name!r} is not a diffusers pipeline")


def scheduler_class(name: str, *, trust: bool = False) -> Any:
    found = resolve(name, trust=trust)
    if isinstance(found, type) and issubclass(found, SchedulerMixin):
        return found
    raise WorkflowError(f"{name!r} is not a diffusers scheduler")


def component_class(name: str, *, trust: bool = False) -> Any:
    """The class of a component, which knows how to load itself."""
    found = resolve(name, trust=trust)
    if isinstance(found, type) and hasattr(found, "from_pretrained"):
        return found
    raise WorkflowError(f"{name!r} is not a class with from_pretrained")


def import_module(name: str, *, trust: bool = False) -> None:
    """Import a module for what that registers. Raises WorkflowError as `resolve` does."""
    _module(name, name, trust)


def is_generic(cls: Any) -> bool:
    """Whether the class to build is the one that the model's index names, or its relative."""
    return cls is DiffusionPipeline or getattr(cls, "__name__", "") in (*AUTO_CLASSES, MODULAR)


def is_modular(cls: Any) -> bool:
    """Whether it is a modular pipeline. By name, as importing their base takes 30 ms."""
    return any(base.__name__ == MODULAR for base in getattr(cls, "__mro__", ()))


def concrete_class(generic: Any, class_name: str) -> Any:
    """The class that `generic` stands for when a model's index names `class_name`."""
    if not is_generic(generic):
        return generic
    if generic is DiffusionPipeline:
        return pipeline_class(class_name)
    from diffusers.pipelines import auto_pipeline  # imports fifty pipelines, which takes 0.4 s

    mapping_name, task = AUTO_CLASSES[generic.__name__]
    mapping = getattr(auto_pipeline, mapping_name)
    stem = class_name.removesuffix("Pipeline").removesuffix(task)
    for candidate in (f"{stem}{task}Pipeline", class_name):
        found = auto_pipeline._get_task_class(mapping, candidate, throw_error_if_not_exist=False)
        if found is not None:
            return found
    raise WorkflowError(f"{generic.__name__} knows no pipeline for a model of {class_name}")


def is_from_transformers(cls: Any) -> bool:
    """Whether it is no pipeline of diffusers but of transformers: loaded, and then called."""
    is_of_transformers = getattr(cls, "__module__", "").partition(".")[0] == "transformers"
    is_pipeline = getattr(cls, "__name__", "") == "pipeline"
    return is_of_transformers and (is_pipeline or hasattr(cls, "from_pretrained"))


@lru_cache(maxsize=1)
def _diffusers_names() -> list[str]:
    return [name for name in dir(diffusers) if not name.startswith("_")]


def _module(module_name: str, name: str, trust: bool) -> Any:
    _refuse_foreign(module_name, name, trust)
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        message = missing_package(name) or f"{name!r} cannot be imported: {error}"
        raise WorkflowError(message) from None


def _refuse_foreign(module_name: str, name: str, trust: bool) -> None:
    package = module_name.partition(".")[0]
    if package not in TRUSTED_PACKAGES and not trust:
        raise WorkflowError(
            f"{name!r} would import the package {package!r}, which is not one of the known ones",
            hints=[TrustWorkflow(), f"known: {', '.join(TRUSTED_PACKAGES)}"],
        )


def _attribute(module: Any, attribute: str) -> Any:
    try:
        return getattr(module, attribute)
    except AttributeError:
        known = _diffusers_names() if module is diffusers else dir(module)
        owner = getattr(module, "__name__", type(module).__name__)
        raise WorkflowError(
            f"{owner} has no {attribute!r}{did_you_mean(attribute, known)}"
        ) from None
