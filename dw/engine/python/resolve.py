"""Python names: the classes, dtypes and constants that a workflow names, imported.

A name without a dot is an attribute of diffusers, one with dots is `module.attribute`. Importing
runs code, so only known packages are imported unless the user trusts the workflow. What a name
stands for must be of the kind that its place requires.
"""

from __future__ import annotations

import copy
import importlib
from dataclasses import replace
from functools import lru_cache
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline, SchedulerMixin

from dw.errors import TrustWorkflow, WorkflowError, did_you_mean, told
from dw.extras import missing_package
from dw.workflow import Diagnostic, Document
from dw.workflow.checks.classes import TRUSTED_PACKAGES
from dw.workflow.checks.constants import constant_error, constant_path
from dw.workflow.references import constants_in
from dw.workflow.substitution import substitute

MODULAR = "ModularPipeline"
AUTO_CLASSES = {
    "AutoPipelineForText2Image": ("AUTO_TEXT2IMAGE_PIPELINES_MAPPING", ""),
    "AutoPipelineForImage2Image": ("AUTO_IMAGE2IMAGE_PIPELINES_MAPPING", "Img2Img"),
    "AutoPipelineForInpainting": ("AUTO_INPAINT_PIPELINES_MAPPING", "Inpaint"),
}
"""The mapping of diffusers in which each looks its pipelines up, and the task in their names."""

_OF_VALUES = ("builtins", "collections", "numpy")
"""Packages whose classes hold plain values."""


# ------------------------------------------------------------------ classes and dtypes


def resolve(name: str, *, trust: bool = False) -> Any:
    """The object that `name` names; a name in braces is its own text.

    Raises WorkflowError, without a position, for an unknown package and for an unknown name.
    """
    if name.startswith("{") and name.endswith("}"):
        return name[1:-1]
    module_name, _, attribute = name.rpartition(".")
    return _attribute(_module(module_name or "diffusers", name, trust), attribute)


def dtype(value: Any) -> torch.dtype:
    """The dtype of `torch.bfloat16`, `bfloat16` or a dtype; None is float32, as in diffusers."""
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
    _require_trusted(found.__module__, name, trust)  # a known package may import unknown ones
    return found


def pipeline_class(name: str, *, trust: bool = False) -> Any:
    """The class of a pipeline; `is_generic` ones stand for that of the model's index."""
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
    """The class of a component, which has `from_pretrained`."""
    found = resolve(name, trust=trust)
    if isinstance(found, type) and hasattr(found, "from_pretrained"):
        return found
    raise WorkflowError(f"{name!r} is not a class with from_pretrained")


def import_module(name: str, *, trust: bool = False) -> None:
    """Import a module for its side effects. Raises WorkflowError as `resolve` does."""
    _module(name, name, trust)


def is_generic(cls: Any) -> bool:
    """Whether the model's index determines the class to build."""
    return cls is DiffusionPipeline or getattr(cls, "__name__", "") in (*AUTO_CLASSES, MODULAR)


def is_modular(cls: Any) -> bool:
    """Whether it is a modular pipeline, by name: importing their base class takes 30 ms."""
    return any(base.__name__ == MODULAR for base in getattr(cls, "__mro__", ()))


def concrete_class(generic: Any, class_name: str) -> Any:
    """The class that `generic` stands for with a model whose index names `class_name`.

    Raises WorkflowError when it does not support such models.
    """
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
    raise WorkflowError(f"{generic.__name__} does not support models of {class_name}")


def is_from_transformers(cls: Any) -> bool:
    """Whether it is a model or the pipeline function of transformers: loaded, and then called."""
    is_of_transformers = getattr(cls, "__module__", "").partition(".")[0] == "transformers"
    is_pipeline = getattr(cls, "__name__", "") == "pipeline"
    return is_of_transformers and (is_pipeline or hasattr(cls, "from_pretrained"))


# ------------------------------------------------------------------ constants


def with_constants(document: Document) -> tuple[Document, tuple[Diagnostic, ...]]:
    """The document and its sub-workflows with the values of their constants, and a diagnostic for
    each constant that cannot be imported.
    """
    trust = document.permissions.trust
    found: dict[str, Any] = {}
    problems: list[Diagnostic] = []
    for path, text in constants_in(document.data):
        try:
            found[text] = constant(text, trust=trust)
        except WorkflowError as error:
            problems.append(document.diagnostic_at(path, error.message))
    children: dict[str, Document] = {}
    for name, child in document.children.items():
        children[name], inner = with_constants(child)
        problems += inner
    return replace(document, constants=found, children=children), tuple(problems)


def argument_value(value: Any, *, trust: bool) -> Any:
    """An argument of a run with the values of its constants. Raises WorkflowError as `constant`
    does.
    """
    found = {text: constant(text, trust=trust) for _, text in constants_in(value)}
    return substitute(value, {}, found)


def constant(text: str, *, trust: bool = False) -> Any:
    """The value of `constant:NAME`. A list, set, dict or tensor is a copy, so that a run cannot
    change the module's own.

    Raises WorkflowError, without a position, for an unknown name, for one that must not be imported
    and for a module, a function or a class.
    """
    if message := constant_error(text, trust=trust):
        raise WorkflowError(message)
    found, rest = _longest_module(constant_path(text), text, trust)
    for attribute in rest:
        found = _attribute(found, attribute)
        if isinstance(found, ModuleType):  # os is an attribute of torch
            _require_trusted(found.__name__, text, trust)
    if callable(found) or isinstance(found, ModuleType):
        kind = "module" if isinstance(found, ModuleType) else "function or a class"
        raise WorkflowError(f"{text!r} is a {kind}, not a value")
    if (owner := type(found).__module__) not in _OF_VALUES:  # os.environ may be imported anywhere
        _require_trusted(owner, text, trust)
    return copy.deepcopy(found) if isinstance(found, list | dict | set | torch.Tensor) else found


def _longest_module(path: list[str], text: str, trust: bool) -> tuple[Any, list[str]]:
    """The longest leading part that can be imported, and the attributes that follow it."""
    found = _module(path[0], text, trust)
    for index in range(1, len(path)):
        name = ".".join(path[: index + 1])
        try:
            is_module = find_spec(name) is not None
        except ModuleNotFoundError:  # the parent is not a package
            is_module = False
        if not is_module:
            return found, path[index:]
        found = _module(name, text, trust)
    return found, []


# ------------------------------------------------------------------ imports


@lru_cache(maxsize=1)
def _diffusers_names() -> list[str]:
    return [name for name in dir(diffusers) if not name.startswith("_")]


def _module(module_name: str, name: str, trust: bool) -> Any:
    _require_trusted(module_name, name, trust)
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        message = missing_package(name) or f"{name!r} cannot be imported: {told(error)}"
        raise WorkflowError(message) from None


def _require_trusted(module_name: str, name: str, trust: bool) -> None:
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
