"""What a workflow says of a modular pipeline: which components it loads, how it offloads them."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dw.workflow.placement import Quantization
from dw.workflow.scalars import Many
from dw.workflow.section import Section, words

RESERVE = "3GB"
MODULAR = words("load_components configs components_manager")
"""The keys of a configuration that are for modular pipelines alone."""

_SIZE = re.compile(r"\d+(\.\d*)?(KI?B|MI?B|GI?B)", re.IGNORECASE)


def _size(text: str) -> str:
    if not _SIZE.fullmatch(text):
        raise PydanticCustomError("size", "must be a number with a unit, such as 3GB or 500MB")
    return text


Size = Annotated[str, AfterValidator(_size)]


class LoadComponents(Section):
    """The components that are loaded; all that the model names when there are no `names`."""

    closed = True

    names: Many[str] = Field((), description="the components to load; default: all of them")
    dtype: str | dict[str, str] | None = Field(
        None, description="dtype of all, or of each by name with a default: torch.bfloat16, ..."
    )
    quantization_config: dict[str, Quantization] = Field(
        default_factory=dict, description="how components are quantized, by name"
    )


class ComponentsManager(Section):
    """Moves components to the device when they run."""

    closed = True

    enable_auto_cpu_offload: bool = Field(
        False,
        description="keep weights in host memory until used, and then as long as there is room",
    )
    memory_reserve_margin: Size = Field(
        RESERVE, description="memory of the device that is left free for the computation"
    )
