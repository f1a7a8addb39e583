"""Python names: the classes, dtypes and constants that a workflow names, imported.

A name without a dot is an attribute of diffusers, one with dots is `module.attribute`. Importing
runs code, so only known modules are imported unless the user trusts the workflow. What a name
stands for must be of the kind that its place requires: see `dw.engine.python.kinds`.
"""

from __future__ import annotations

import copy
import importlib
import inspect
from collections.abc import Callable
from dataclasses import replace
from enum import Enum, EnumType
from functools import lru_cache
from types import ModuleType, NoneType
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import DiffusionPipeline

from dw.engine.python import kinds
from dw.errors import TrustWorkflow, WorkflowError, did_you_mean, told
from dw.extras import missing_package
from dw.workflow import Diagnostic, Document
from dw.workflow.checks.constants import constant_error, constant_path, module_of
from dw.workflow.checks.modules import class_error, module_error
from dw.workflow.module_source import find_module
from dw.workflow.references import constants_in
from dw.workflow.substitution import substitute

MODULAR = "ModularPipeline"
AUTO_CLASSES = {
    "AutoPipelineForText2Image": ("AUTO_TEXT2IMAGE_PIPELINES_MAPPING", ""),
    "AutoPipelineForImage2Image": ("AUTO_IMAGE2IMAGE_PIPELINES_MAPPING", "Img2Img"),
    "AutoPipelineForInpainting": ("AUTO_INPAINT_PIPELINES_MAPPING", "Inpaint"),
}
"""The mapping of diffusers in which each looks its pipelines up, and the task in their names."""

_PLAIN = (
    bool,
    int,
    float,
    complex,
    str,
    NoneType,
    torch.dtype,
    torch.Tensor,
    np.ndarray,
    np.number,
)
_PLAIN_GROUPS = (list, tuple, set, frozenset)


# ------------------------------------------------------------------ classes and dtypes


def resolve(name: str, is_kind: Callable[[Any], bool], kind: str, *, trust: bool = False) -> Any:
    """The class or dtype that `name` names, which must be of a kind; messages call that `kind`.

    Raises WorkflowError, without a position, for a name that is unknown, of another kind, or not
    allowed without trust.
    """
    if not trust and (error := class_error(name)):
        raise _distrusted(name, error)
    module_name, _, attribute = name.rpartition(".")
    found = _attribute(_module(module_name or "diffusers", name), attribute)
    try:
        is_right = is_kind(found)
    except ImportError as error:  # a class in the place of one that needs another package
        raise WorkflowError(f"{name!r} cannot be used: {' '.join(str(error).split())}") from None
    if not is_right:
        raise WorkflowError(f"{name!r} is not {kind}")
    package = (module_name or "diffusers").partition(".")[0]
    owner = getattr(found, "__module__", package).partition(".")[0]
    if not trust and owner != package:  # a known package may import others for itself
        raise _distrusted(name, f"which is of the package {owner!r} and is named as one of that")
    return found


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

    def is_kind(found: Any) -> bool:
        is_class = isinstance(found, type | torch.dtype)
        return is_class and (trust or kinds.is_known(found))

    return resolve(name, is_kind, "a class that a workflow may use", trust=trust)


def object_class(name: str, *, trust: bool = False) -> Any:
    """The class of an object that a workflow makes."""

    def is_kind(found: Any) -> bool:
        return isinstance(found, type) and (trust or kinds.is_object(found))

    return resolve(name, is_kind, "a class of objects that a workflow may make", trust=trust)


def pipeline_class(name: str, *, trust: bool = False) -> Any:
    """The class of a pipeline; `is_generic` ones stand for that of the model's index."""
    return resolve(name, kinds.is_pipeline, "a diffusers pipeline", trust=trust)


def scheduler_class(name: str, *, trust: bool = False) -> Any:
    return resolve(name, kinds.is_scheduler, "a diffusers scheduler", trust=trust)


def component_class(name: str, *, trust: bool = False) -> Any:
    """The class of a component, which has `from_pretrained`."""

    def is_kind(found: Any) -> bool:
        is_loaded = isinstance(found, type) and hasattr(found, "from_pretrained")
        return is_loaded and (trust or kinds.is_component(found))

    return resolve(name, is_kind, "a class of components", trust=trust)


def attention_processor(name: str) -> Any:
    return resolve(name, kinds.is_attention_processor, "an attention processor of diffusers")


def import_module(name: str, *, trust: bool = False) -> None:
    """Import a module for its side effects. Raises WorkflowError as `resolve` does."""
    if not trust and (error := module_error(name)):
        raise _distrusted(name, error)
    _module(name, name)


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
    """The value of `constant:NAME`: numbers, text, dtypes, members of enums, tensors, and lists and
    objects of them. It is a copy, so that a run cannot change the module's own.

    Raises WorkflowError, without a position, for an unknown name, for one that must not be imported
    and for anything else, such as a module, a function or a class.
    """
    if message := constant_error(text, trust=trust):
        raise WorkflowError(message)
    path = constant_path(text)
    _, rest = find_module(path)
    found = _module(module_of(path, rest), text)
    for attribute in rest:
        found = _attribute(found, attribute, getattr if trust else _static)
        if isinstance(found, ModuleType) and not trust:  # os is an attribute of torch
            raise _distrusted(text, f"which leads into the module {found.__name__!r}")
    if callable(found) or isinstance(found, ModuleType):
        kind = "module" if isinstance(found, ModuleType) else "function or a class"
        raise WorkflowError(f"{text!r} is a {kind}, not a value")
    if not trust and not _is_plain(found):
        raise _distrusted(text, f"which is a {type(found).__name__} and no plain value")
    return copy.deepcopy(found) if isinstance(found, list | dict | set | torch.Tensor) else found


def _is_plain(value: Any) -> bool:
    if isinstance(value, Enum):
        return kinds.is_own(type(value))
    if type(value) is dict:
        return all(_is_plain(each) for pair in value.items() for each in pair)
    if type(value) in _PLAIN_GROUPS:
        return all(map(_is_plain, value))
    return type(value) in _PLAIN or isinstance(value, np.number)


# ------------------------------------------------------------------ imports


@lru_cache(maxsize=1)
def _diffusers_names() -> list[str]:
    return [name for name in dir(diffusers) if not name.startswith("_")]


def _module(module_name: str, name: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ImportError as error:
        message = missing_package(name) or f"{name!r} cannot be imported: {told(error)}"
        raise WorkflowError(message) from None


def _distrusted(name: str, error: str) -> WorkflowError:
    return WorkflowError(f"a workflow may not name {name!r}, {error}", hints=[TrustWorkflow()])


def _attribute(owner: Any, attribute: str, look_up: Callable[[Any, str], Any] = getattr) -> Any:
    try:
        return look_up(owner, attribute)
    except AttributeError:
        known = _diffusers_names() if owner is diffusers else dir(owner)
        name = getattr(owner, "__name__", type(owner).__name__)
        raise WorkflowError(
            f"{name} has no {attribute!r}{did_you_mean(attribute, known)}"
        ) from None


def _static(owner: Any, attribute: str) -> Any:
    """An attribute that is there already, or a class that a package exports: to look up any other
    could run code. Raises AttributeError."""
    if isinstance(owner, EnumType) and attribute in owner.__members__:
        return owner.__members__[attribute]
    try:
        return inspect.getattr_static(owner, attribute)
    except AttributeError:
        if isinstance(owner, ModuleType) and attribute[:1].isupper():
            return getattr(owner, attribute)
        raise
