"""Disk space: whether the files of a run have room, before anything is drawn."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from dw.errors import OutOfResources, RunFailed, SetOutputDir
from dw.sizes import size_in_words

BLOCK = 4096  # bytes: a file takes whole ones
LONGEST_PATH = 4095  # bytes: PATH_MAX without its end

LEAST_BYTES = {
    "image/png": 0.1,
    "image/jpeg": 0.03,
    "image/webp": 0.01,
    "image/bmp": 3.0,
    "image/tiff": 3.0,
    "image/gif": 0.02,
    "video/mp4": 0.001,
    "video/quicktime": 0.001,
    "video/x-matroska": 0.001,
    "video/webm": 0.001,
}
"""Of one pixel of one frame, by content type. Less would be an image of hardly any content:
what models draw takes five to twenty times as much where it is compressed."""


@dataclass(frozen=True, slots=True)
class Extent:
    """What is known of the files of a step: the name of the first, their type, their number, and
    the pixels of each."""

    name: str
    content_type: str
    files: int = 1
    pixels: int = 0  # of all frames; 0: unknown

    @property
    def least_bytes(self) -> int:
        each = self.pixels * LEAST_BYTES.get(self.content_type, 0)
        return self.files * (int(each) // BLOCK + 1) * BLOCK


def require_room(output_dir: Path, extents: Iterable[Extent]) -> None:
    """Raises OutOfResources when the disk surely has too little room for the files and the record
    of a run."""
    needed = BLOCK + sum(extent.least_bytes for extent in extents)
    folder = next(each for each in (output_dir, *output_dir.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OutOfResources(
            f"the output folder {str(output_dir)!r} has room for {size_in_words(free)}, and the "
            f"files of this run need at least {size_in_words(needed)}",
            hints=[SetOutputDir()],
        )


def require_short(output_dir: Path, workflow: str, extents: Iterable[Extent]) -> None:
    """Raises RunFailed when the paths of a run's files would be longer than the system takes."""
    longest = max((len(os.fsencode(extent.name)) for extent in extents), default=0)
    folder = output_dir.absolute() / workflow / "0000"
    if (length := len(os.fsencode(folder)) + 1 + longest) > LONGEST_PATH:
        raise RunFailed(
            f"the paths of the files would have {length} bytes, at most {LONGEST_PATH} are "
            f"possible: the output folder is {str(output_dir)[:80]!r}...",
            hints=[SetOutputDir()],
        )
