"""Result: the type of a step's files, and how they are written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import AliasChoices, Field

from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.scalars import ContentType, FileName
from dw.workflow.format.section import Section, words

_ONLY_FOR = {
    "fps": ("video/", "image/gif"),
    "audio_sample_rate": ("video/",),
    "embed_metadata": ("image/png", "image/jpeg", "image/webp"),
} | dict.fromkeys(
    ("sample_rate", "samplerate", "subtype", "format", "compression_level", "bitrate_mode"),
    ("audio/",),
)
"""Keys for some content types only, and the beginnings of these types."""


class Result(Section):
    """How the results of a step are written."""

    accepted = words("samplerate")

    content_type: ContentType = Field(
        description="MIME type of the files: decides their extension and how they are written"
    )
    save: bool = Field(True, description="write the step's results to files")
    file_base_name: FileName = Field("", description="text before the default file name")
    fps: float | None = Field(
        None,
        gt=0,
        le=1000,
        allow_inf_nan=False,
        description="frames per second of a video or a GIF; default: the video's own, or else 8",
    )
    sample_rate: int | None = Field(
        None,
        validation_alias=AliasChoices("sample_rate", "samplerate"),
        ge=1000,
        le=768_000,
        description="samples per second of an audio file, also written samplerate; default: the "
        "audio's own, or else 44100",
    )
    audio_sample_rate: int | None = Field(
        None,
        ge=1000,
        le=192_000,
        description="samples per second of the audio in a video; default: the audio's own, without "
        "which the video is silent",
    )
    subtype: str | None = Field(
        None, description="encoding of an audio file as libsndfile names it: PCM_24, FLOAT, ..."
    )
    format: str | None = Field(
        None,
        description="container of an audio file as libsndfile names it: RF64, ...; default: the "
        "content type's",
    )
    compression_level: float | None = Field(
        None,
        ge=0,
        le=1,
        description="size of an audio file, from 0 (best quality) to 1 (smallest file)",
    )
    bitrate_mode: Literal["CONSTANT", "AVERAGE", "VARIABLE"] | None = Field(
        None, description="distribution of the bit rate over an MP3"
    )
    embed_metadata: bool = Field(
        False,
        description="store in a PNG, JPEG or WebP how it was made: step, model, seed, arguments",
    )

    @classmethod
    def conflicts(cls, data: Mapping[str, Any], /) -> Diagnostics:
        if "sample_rate" in data and "samplerate" in data:
            message = "'samplerate' is another name of 'sample_rate', which is given"
            yield DataDiagnostic(("samplerate",), message, at_key=True)
        content_type = data.get("content_type")
        for key, types in _ONLY_FOR.items():
            is_wrong = isinstance(content_type, str) and not content_type.startswith(types)
            if is_wrong and data.get(key):
                message = f"{key!r} does nothing for {content_type}"
                yield DataDiagnostic((key,), message, "warning", at_key=True)
