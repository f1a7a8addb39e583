"""Films and sounds of anybody's, opened so that they lead to nothing else."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av

_NOTHING = "none"  # no protocol of FFmpeg has this name


@contextmanager
def opened(source: str | io.BytesIO) -> Iterator[Any]:
    """FFmpeg's view of a file: PyAV's input container.

    A playlist names further files and addresses, which FFmpeg would open by itself, past every
    limit that dw keeps; a file of any name may be one. So it reads what Python has opened, and may
    open nothing. Raises OSError and ValueError.
    """
    with ExitStack() as stack:
        file = stack.enter_context(Path(source).open("rb")) if isinstance(source, str) else source
        yield stack.enter_context(av.open(file, options={"protocol_whitelist": _NOTHING}))
