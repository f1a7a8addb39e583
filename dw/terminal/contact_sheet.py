"""Contact sheets: images in rows, each above a caption that tells it from the others."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from math import ceil, sqrt
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from dw.atomic_files import replace_file
from dw.errors import RunFailed
from dw.pixels import allowing, eight_bits, open_image
from dw.refusals import cannot

_LARGEST = 256
"""Pixels of a thumbnail, each way; a smaller image keeps its size."""
_GAP = 12
_TEXT_SIZE = 13
_CAPTION_LINES = 3
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def contact_sheet(images: Sequence[tuple[Path, str]]) -> Image.Image:
    """The images, at least one, in rows, each above its caption.

    Raises RunFailed when one cannot be read.
    """
    thumbs = [_thumbnail(path) for path, _ in images]
    font = ImageFont.load_default(_TEXT_SIZE)
    width = max(thumb.width for thumb in thumbs)
    letters = max(8, int(width / font.getlength("n" * 10) * 10))
    captions = [
        textwrap.fill(caption, letters, max_lines=_CAPTION_LINES, placeholder=" …")
        for _, caption in images
    ]
    line = _TEXT_SIZE + 3
    height = max(t.height for t in thumbs) + 4 + line * max(len(c.split("\n")) for c in captions)
    columns = ceil(sqrt(len(thumbs) * 2))  # wider than high, as a terminal is
    rows = ceil(len(thumbs) / columns)
    columns = ceil(len(thumbs) / rows)
    sheet = Image.new(
        "RGB", (columns * (width + _GAP) + _GAP, rows * (height + _GAP) + _GAP), _PAPER
    )
    pen = ImageDraw.Draw(sheet)
    for index, (thumb, caption) in enumerate(zip(thumbs, captions, strict=True)):
        left = _GAP + index % columns * (width + _GAP)
        top = _GAP + index // columns * (height + _GAP)
        sheet.paste(thumb, (left, top))
        pen.multiline_text((left, top + thumb.height + 4), caption, _INK, font, spacing=3)
    return sheet


def save_contact_sheet(images: Sequence[tuple[Path, str]], path: Path) -> None:
    """Write the sheet as a PNG, whole or not at all. Raises RunFailed."""
    sheet = contact_sheet(images)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    try:
        replace_file(path, data.getvalue())
    except OSError as error:
        raise cannot(f"write the contact sheet {path}", error) from error


def _thumbnail(path: Path) -> Image.Image:
    try:
        with allowing(), open_image(path) as image:
            thumb = eight_bits(image).convert("RGB")
    except OSError as error:
        raise RunFailed(f"cannot read the image {path}: {error}") from error
    thumb.thumbnail((_LARGEST, _LARGEST))
    return thumb
