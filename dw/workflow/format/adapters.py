"""Adapters of a pipeline's models: LoRAs and an IP-Adapter."""

from __future__ import annotations

from contextlib import suppress
from math import isfinite
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import AfterValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from dw.workflow.format.scalars import Number, Text
from dw.workflow.format.section import Section
from dw.workflow.references import is_reference


def _scale(value: Any) -> Any:
    """Numbers at any depth, also as strings. Only diffusers knows which blocks a model has."""
    if isinstance(value, list):
        return [_scale(item) for item in value]
    if isinstance(value, dict):
        return {name: _scale(item) for name, item in value.items()}
    if value is None or (isinstance(value, str) and is_reference(value)):
        return value
    with suppress(TypeError, ValueError):
        if not isinstance(value, bool) and isfinite(number := float(value)):
            return value if type(value) is int else number
    raise PydanticCustomError("scale", "must be a number, or numbers by block of the model")


Scale = Annotated[
    Any,
    AfterValidator(_scale),
    WithJsonSchema({"type": ["number", "string", "array", "object", "null"]}),
]


_ELSEWHERE = MappingProxyType(
    {
        "revision": "the file's address names it, as 'model_name': "
        "https://huggingface.co/OWNER/NAME/resolve/REVISION/FILE",
        "cache_dir": "the environment sets the hub's cache, HF_HOME",
        "from_single_file": "'model_name' names a file, too",
        "local_files_only": "the environment keeps the hub from being asked, HF_HUB_OFFLINE=1",
        "token": "the environment sets it, HF_TOKEN",
        **dict.fromkeys(("lora_scale", "strength", "weight"), "'scale' is its name"),
    }
)
"""Keys that loaders have and adapters have not."""


class Lora(Section):
    """A LoRA on the models of the pipeline."""

    closed = True
    elsewhere = _ELSEWHERE

    model_name: Text = Field(description="hub id, folder, file or built-in name of the LoRA")
    weight_name: str | None = Field(None, description="file name in the repository or folder")
    subfolder: str | None = Field(None, description="folder in the repository")
    adapter_name: str | None = Field(
        None, description="name of the LoRA in messages; default: its model and file"
    )
    scale: Number = Field(1.0, description="weight of the LoRA")
    allow_unused_weights: bool = Field(
        False, description="leave out what the pipeline's models have no place for"
    )


class IpAdapter(Section):
    """An image as a prompt; the image itself is the argument `ip_adapter_image`."""

    closed = True
    elsewhere = _ELSEWHERE

    model_name: Text = Field(description="hub id, folder or file of the adapter")
    weight_name: str | None = Field(None, description="file name in the repository or folder")
    subfolder: str | None = Field(None, description="folder in the repository")
    scale: Scale = Field(
        None,
        description='weight of the image, or weights by block of a UNet, {"down": 0, "up": 1}, '
        "or a list by layer of FLUX; default: 1",
    )
    image_encoder_folder: str | None = Field(
        "image_encoder", description="folder of the encoder, in the subfolder or, with /, elsewhere"
    )
    image_encoder_pretrained_model_name_or_path: str | None = Field(
        None, description="model of the image encoder, if it is another one, as for FLUX"
    )
    image_encoder_subfolder: str | None = Field(None, description="folder of that encoder")

    @property
    def encoder(self) -> tuple[str, str | None] | None:
        """The model of the image encoder and the folder in it; None without an encoder."""
        if self.image_encoder_pretrained_model_name_or_path is not None:
            return self.image_encoder_pretrained_model_name_or_path, self.image_encoder_subfolder
        folder = self.image_encoder_folder
        if folder is None:
            return None
        inside = folder if "/" in folder else "/".join(filter(None, (self.subfolder, folder)))
        return self.model_name, inside
