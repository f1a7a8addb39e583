"""Signatures: the parameters of the installed classes, and the classes that a model index names."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_loading_utils import _maybe_remap_transformers_class

from dw.engine.python import resolve
from dw.engine.python.annotations import evaluated_signature
from dw.workflow.module_source import find_module


@dataclass(frozen=True)
class Signature:
    """The parameters of a pipeline's constructor: its components and its plain settings."""

    required: tuple[str, ...]  # components without which it cannot be built
    optional: tuple[str, ...]  # components that may be None
    scalars: tuple[str, ...]

    @property
    def components(self) -> tuple[str, ...]:
        return self.required + self.optional


@lru_cache(maxsize=256)
def constructor_signature(cls: Any) -> Signature:
    components, scalars = cls._get_signature_keys(cls)
    optional = [name for name in components if name in cls._optional_components]
    required = [name for name in components if name not in optional]
    return Signature(tuple(required), tuple(optional), tuple(scalars))


@lru_cache(maxsize=256)
def component_types(cls: Any, name: str) -> tuple[type, ...]:
    """The classes in the constructor's annotation of a component; empty without an annotation."""
    types = cls._get_signature_types().get(name, ())
    return tuple(each for each in types if isinstance(each, type) and each is not NoneType)


@lru_cache(maxsize=256)
def call_parameters(cls: Any, method: str = "__call__") -> Mapping[str, inspect.Parameter]:
    """The parameters of a pipeline's `__call__`, or of another method, without `self`."""
    parameters = dict(evaluated_signature(getattr(cls, method)).parameters)
    parameters.pop("self", None)
    return parameters


def has_weights(cls: Any) -> bool:
    """Whether its objects are models or hold models, so that their dtype and device matter."""
    names_above = {base.__name__ for base in getattr(cls, "__mro__", ())}
    if names_above & {"_BaseAutoModelClass", "AutoModel"}:
        return True  # the config of the model names the class that they load
    is_function = not isinstance(cls, type)  # transformers.pipeline
    return is_function or issubclass(cls, torch.nn.Module | DiffusionPipeline)


def library_class(library: str, class_name: str, *, trust: bool = False) -> Any:
    """The class that a model's index names, in a library or in a pipeline module of diffusers."""
    if library.isidentifier() and not find_module(["diffusers", "pipelines", library])[1]:
        library = f"diffusers.pipelines.{library}"
    if library == "transformers":
        class_name = _maybe_remap_transformers_class(class_name) or class_name
    return resolve.component_class(f"{library}.{class_name}", trust=trust)
