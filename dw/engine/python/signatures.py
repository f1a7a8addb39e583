"""What the installed classes take: their constructors, their calls; and a model index's classes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import Any

import diffusers.pipelines
import torch
from diffusers import DiffusionPipeline
from diffusers.pipelines.pipeline_loading_utils import _maybe_remap_transformers_class

from dw.engine.python import resolve


@dataclass(frozen=True)
class Signature:
    """The parameters of a pipeline's constructor: its components and its plain settings."""

    required: tuple[str, ...]  # components that it cannot be built without
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
    """The classes that the constructor names for a component; none where it does not tell."""
    told = cls._get_signature_types().get(name, ())
    return tuple(each for each in told if isinstance(each, type) and each is not NoneType)


@lru_cache(maxsize=256)
def call_parameters(cls: Any, method: str = "__call__") -> Mapping[str, inspect.Parameter]:
    """The parameters of the pipeline's call, or of another method of it, without `self`."""
    try:
        signature = inspect.signature(getattr(cls, method), eval_str=True)
    except NameError:  # a name that its module imports for type checkers only
        signature = inspect.signature(getattr(cls, method))
    parameters = dict(signature.parameters)
    parameters.pop("self", None)
    return parameters


def has_weights(cls: Any) -> bool:
    """Whether what the class loads is a model, or holds one: its dtype and its device matter."""
    names_above = {base.__name__ for base in getattr(cls, "__mro__", ())}
    if names_above & {"_BaseAutoModelClass", "AutoModel"}:
        return True  # they load a class that is known by the model's config
    is_function = not isinstance(cls, type)  # transformers.pipeline
    return is_function or issubclass(cls, torch.nn.Module | DiffusionPipeline)


def library_class(library: str, class_name: str, *, trust: bool = False) -> Any:
    """The class that a model's index names: of a library, or of one of diffusers' pipeline
    modules."""
    if hasattr(diffusers.pipelines, library):
        return getattr(getattr(diffusers.pipelines, library), class_name)
    if library == "transformers":
        class_name = _maybe_remap_transformers_class(class_name) or class_name
    return resolve.component_class(f"{library}.{class_name}", trust=trust)
