"""Scalars: the types of names, seeds, devices and content types."""

from __future__ import annotations

import re
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, Strict, WithJsonSchema
from pydantic_core import PydanticCustomError

from dw.errors import did_you_mean
from dw.seeds import MAX_SEED, SEEDS, is_seed, seed_hint
from dw.workflow.module_source import enum_values

_DEVICE = re.compile(r"auto|(cpu|mps|cuda|xpu|npu|hpu)(:\d+)?")
_NO_FILE_NAME = re.compile(r"[/\\\x00-\x1f]|^\.\.?$")

T = TypeVar("T")


def _file_name(text: str) -> str:
    if _NO_FILE_NAME.search(text):
        raise PydanticCustomError("file_name", "is part of a file name and cannot hold / or \\")
    return text


def _device(text: str) -> str:
    if not _DEVICE.fullmatch(text):
        raise PydanticCustomError("device", "must be auto, cpu, mps, cuda or cuda:N")
    return text


def _backend(text: str) -> str:
    known = enum_values("diffusers.models.attention_dispatch", "AttentionBackendName")
    if known and text not in known:
        public = ", ".join(name for name in known if not name.startswith("_"))
        context = {"known": public, "hint": did_you_mean(text, known)}
        raise PydanticCustomError("backend", "must be one of {known}", context)
    return text


def _seed(value: object) -> object:
    if not is_seed(value):
        context = {"seeds": SEEDS, "hint": seed_hint(value)}
        raise PydanticCustomError("seed", "must be {seeds}", context)
    return value


def _number(value: object) -> object:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value  # pydantic reports it


Many = Annotated[tuple[T, ...], Strict(False)]  # JSON has only lists, and the models are immutable
Seed = Annotated[
    int,
    BeforeValidator(_seed),
    WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_SEED}),
]
FileName = Annotated[str, AfterValidator(_file_name)]
Name = Annotated[str, Field(min_length=1), AfterValidator(_file_name)]
Number = Annotated[
    float,
    BeforeValidator(_number),
    Field(allow_inf_nan=False),
    WithJsonSchema({"type": ["number", "string"]}),
]
Text = Annotated[str, Field(min_length=1)]
DeviceName = Annotated[
    str, AfterValidator(_device), Field(json_schema_extra={"pattern": f"^({_DEVICE.pattern})$"})
]
AttentionBackend = Annotated[str, AfterValidator(_backend)]
ContentType = Literal[
    "image/png",
    "image/jpeg",
    "image/webp",
    "image/bmp",
    "image/tiff",
    "image/gif",
    "video/mp4",
    "video/quicktime",
    "video/x-matroska",
    "video/webm",
    "audio/wav",
    "audio/x-wav",
    "audio/aiff",
    "audio/x-aiff",
    "audio/flac",
    "audio/mpeg",
    "audio/mp3",
    "audio/ogg",
    "audio/opus",
    "text/plain",
    "text/markdown",
    "text/html",
    "text/csv",
    "application/json",
]
