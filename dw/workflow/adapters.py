"""What is put on a pipeline's models for a call: LoRAs and an IP-Adapter."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dw.workflow.references import is_reference
from dw.workflow.scalars import Number, Text
from dw.workflow.section import Section


def _scale(value: Any) -> Any:
    """Further members of a list or an object are judged by diffusers, which knows the blocks."""
    is_open = isinstance(value, str) and is_reference(value)
    if value is None or is_open or isinstance(value, list | dict):
        return value
    with suppress(TypeError, ValueError):
        return value if type(value) is int else float(value)
    raise PydanticCustomError("scale", "must be a number, or numbers by block of the model")


class Lora(Section):
    """A LoRA on the models of the pipeline."""

    closed = True

    model_name: Text = Field(description="hub id, folder, file or built-in name of the LoRA")
    weight_name: str | None = Field(None, description="file name in the repository or folder")
    subfolder: str | None = Field(None, description="folder in the repository")
    adapter_name: str | None = Field(None, description="name of the adapter; default: its number")
    scale: Number = Field(1.0, description="weight of the LoRA")


class IpAdapter(Section):
    """A picture as a prompt; the picture itself is the argument `ip_adapter_image`."""

    closed = True

    model_name: Text = Field(description="hub id, folder or file of the adapter")
    weight_name: str | None = Field(None, description="file name in the repository or folder")
    subfolder: str | None = Field(None, description="folder in the repository")
    scale: Annotated[Any, AfterValidator(_scale)] = Field(
        None,
        description="weight of the picture, or a weight for each block of the model; default: 1",
    )
    image_encoder_folder: str | None = Field(
        "image_encoder", description="folder of the encoder, in the subfolder or, with /, elsewhere"
    )
    image_encoder_pretrained_model_name_or_path: str | None = Field(
        None, description="another model that the encoder comes from, as FLUX needs it"
    )
    image_encoder_subfolder: str | None = Field(None, description="folder of that encoder")

    @property
    def encoder(self) -> tuple[str, str | None] | None:
        """The model and the folder in it of the image encoder; None: it has none."""
        if self.image_encoder_pretrained_model_name_or_path is not None:
            return self.image_encoder_pretrained_model_name_or_path, self.image_encoder_subfolder
        folder = self.image_encoder_folder
        if folder is None:
            return None
        inside = folder if "/" in folder else "/".join(filter(None, (self.subfolder, folder)))
        return self.model_name, inside
