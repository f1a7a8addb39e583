"""Modular pipelines: which components are loaded, and how they are offloaded."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dw.workflow.format.placement import Quantization
from dw.workflow.format.scalars import Many
from dw.workflow.format.section import Section, words

RESERVE = "3GB"
MODULAR = words("load_components configs components_manager")
"""The keys of a configuration for modular pipelines only."""

_SIZE = re.compile(r"\d+(\.\d*)?(KI?B|MI?B|GI?B)", re.IGNORECASE)


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise PydanticCustomError("size", "must be a number with a unit, such as 3GB or 500MB")
    return text


Size = Annotated[str, AfterValidator(_size)]


class LoadComponents(Section):
    """Which components of a modular pipeline are loaded, and how."""

    closed = True

    names: Many[str] = Field((), description="names of the components to load; default: all")
    dtype: str | dict[str, str] | None = Field(
        None,
        description='dtype of all, torch.bfloat16, or of some by name, {"default": ..., "vae": '
        "...}; default: that of from_pretrained_arguments",
    )
    quantization_config: dict[str, Quantization] = Field(
        default_factory=dict, description="quantization of components, by name"
    )


class ComponentsManager(Section):
    """Moves the components of a modular pipeline to the device when they run."""

    closed = True

    enable_auto_cpu_offload: bool = Field(
        False,
        description="keep weights in host memory until used, then on the device while there is "
        "room",
    )
    memory_reserve_margin: Size = Field(
        RESERVE,
        description="memory of the device that is left free for the computation: 3GB, 500MB, ...",
    )
