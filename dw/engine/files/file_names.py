"""File names: those of a step's results, within what file systems take."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from dw.engine.files.artifacts import artifacts
from dw.engine.media.audio import waveforms
from dw.engine.media.encoding import EXTENSIONS
from dw.workflow.format.result import Result

NO_FILE_NAME = re.compile(r'[/\\:*?"<>|\x00-\x1f]')
LONGEST_NAME = 255  # bytes: NAME_MAX of all usual file systems
LONGEST_PART = 80  # bytes of a result's key


def name_error(spec: Result, stem: str) -> str | None:
    """Why the files of a step cannot have their names. `stem`: as in `file_names`."""
    first = first_name(spec, stem)
    try:
        length = len(os.fsencode(first))
    except UnicodeEncodeError as error:
        return f"{first[error.start]!a} cannot be in the name of a file"
    if length <= LONGEST_NAME:
        return None
    return (
        f"the names of its files would have {length} bytes, at most {LONGEST_NAME} are possible: "
        f"{_shown(first)!r}"
    )


def first_name(spec: Result, stem: str) -> str:
    return f"{spec.file_base_name}{stem}-0.0{EXTENSIONS[spec.content_type]}"


def file_names(
    result: Any, spec: Result, stem: str, result_index: int
) -> Iterator[tuple[str, Any]]:
    """Name and content of each file of one result. `stem` is `{workflow}-{step}.{step index}`."""
    extension = EXTENSIONS[spec.content_type]
    base = f"{spec.file_base_name}{stem}"
    if spec.content_type == "application/json":
        yield fitted_name(base, f"-{result_index}{extension}"), result
        return
    for index, artifact in enumerate(artifacts(result)):
        for part, member in _parts(artifact, spec):
            if member is not None:
                yield fitted_name(base, f"-{result_index}.{index}{part}{extension}"), member


def fitted_name(base: str, end: str) -> str:
    """The name with its base cut, so that it has at most 255 bytes. What tells it from others, its
    numbers, is in its end."""
    return f"{_cut(base, LONGEST_NAME - len(os.fsencode(end)))}{end}"


def _parts(artifact: Any, spec: Result) -> Iterator[tuple[str, Any]]:
    """The values that get files of their own, each with its part of the name."""
    is_audio = spec.content_type.startswith("audio/")
    if is_audio and (waves := waveforms(artifact)) is not None:
        artifact = dict(enumerate(waves))
    if not isinstance(artifact, Mapping):
        yield "", artifact
        return
    taken = set()  # in lower case: some file systems ignore it
    for key, value in artifact.items():
        text = str(key).encode("utf-8", "replace").decode()  # half of a surrogate pair is no name
        part = base = _cut(NO_FILE_NAME.sub("_", text), LONGEST_PART)
        number = 1
        while part.lower() in taken:
            number += 1
            part = f"{base}_{number}"
        taken.add(part.lower())
        yield f"-{part}", value


def _cut(text: str, longest: int) -> str:
    """The beginning of a text, at most this many bytes, without half of a character."""
    return os.fsencode(text)[:longest].decode(errors="ignore")


def _shown(name: str) -> str:
    return name if len(name) <= 60 else f"{name[:40]}...{name[-17:]}"
