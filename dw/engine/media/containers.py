"""Containers: untrusted video and audio files, opened so that they cannot refer to others."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av

_NOTHING = "none"  # the name of no FFmpeg protocol


@contextmanager
def opened(source: str | io.BytesIO) -> Iterator[Any]:
    """PyAV's input container of a file.

    A playlist, whatever its file is called, names further files and addresses, which FFmpeg would
    open itself, past dw's checks of paths and addresses. So FFmpeg reads a file that Python opened
    and may open nothing. Raises OSError and ValueError.
    """
    with ExitStack() as stack:
        file = stack.enter_context(Path(source).open("rb")) if isinstance(source, str) else source
        yield stack.enter_context(av.open(file, options={"protocol_whitelist": _NOTHING}))
