"""Results at hand: the pictures of a run on the screen, and `latest.png` in the output folder."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from dw.refusals import reason
from dw.terminal.renderer import Renderer

if TYPE_CHECKING:
    from dw.types import OutputFile

LATEST = "latest"
MOST_SHOWN = 4
"""Pictures of one run that a terminal shows; `images` shows all."""
_KINDS = ("image/", "video/", "audio/")
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tiff", ".gif")


def show_pictures(paths: Iterable[Path], renderer: Renderer, setting: str) -> None:
    """Show those that are images, as the setting `images` says."""
    for path in paths:
        if path.suffix.lower() in PICTURES and path.is_file():
            try:
                renderer.image(path, setting)
            except OSError as error:
                renderer.warning(f"cannot show {path}: {reason(error)}")


def keep_latest(output_dir: Path, outputs: Iterable[OutputFile]) -> str | None:
    """Copy the last picture, video or sound of a run to `latest` with its suffix, in the place of
    the one before. Returns what prevented it."""
    found = [output for output in outputs if output.content_type.startswith(_KINDS)]
    if not found or not (source := Path(found[-1].path)).is_file():
        return None
    latest = output_dir / f"{LATEST}{source.suffix}"
    beside = output_dir / f".{latest.name}.part"
    try:
        shutil.copyfile(source, beside)
        beside.replace(latest)
        for name in os.listdir(output_dir):
            other = output_dir / name
            if other.stem == LATEST and other != latest and other.is_file():
                other.unlink()  # one of another kind is not the last any more
    except OSError as error:
        return f"{str(latest)!r} is not the last result: {reason(error)}"
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)
    return None
