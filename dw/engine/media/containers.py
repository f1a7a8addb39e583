"""Containers: untrusted video and audio files, opened so that they cannot refer to others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av

_NOTHING = "none"  # the name of no FFmpeg protocol
FORMATS = (
    *("aiff", "avi", "flac", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "mp3", "mpegts", "ogg"),
    "wav",
)
"""FFmpeg's names of what dw reads. Its others include playlists, devices and descriptions of
streams."""


@contextmanager
def opened(source: str | io.BytesIO) -> Iterator[Any]:
    """PyAV's input container of a file.

    A playlist, whatever its file is called, names further files and addresses, which FFmpeg would
    open itself, past dw's checks of paths and addresses. So FFmpeg reads a file that Python opened,
    in a known format, and may open nothing. Raises OSError and ValueError.
    """
    options = {"protocol_whitelist": _NOTHING, "format_whitelist": ",".join(FORMATS)}
    with ExitStack() as stack:
        file = stack.enter_context(Path(source).open("rb")) if isinstance(source, str) else source
        try:
            container = stack.enter_context(av.open(file, options=options))
        except av.error.ArgumentError as error:
            raise ValueError("its content is of no format that is read") from error
        yield container
