"""Libraries that only some commands need: optional, imported when used, named when missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from dw.errors import RunFailed

Extra = Literal["opencv", "detectors", "upscale", "faces", "vision"]
"""The extras of pyproject.toml with libraries of commands."""


@contextmanager
def needing(extra: Extra, *, install: str | None = None) -> Iterator[None]:
    """Around the import of a library. Raises RunFailed that names the extra, or else what to
    `install`."""
    try:
        yield
    except ImportError as error:
        raise RunFailed(
            f"a library is missing: {' '.join(str(error).split())}",
            hints=[install or f"pip install 'dw[{extra}]'"],
        ) from error
