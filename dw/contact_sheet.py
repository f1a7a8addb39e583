"""Contact sheets: images in rows, each above its run's number and what tells it from the others, or
in a table by what was varied.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
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
_LINE = _TEXT_SIZE + 3
_CAPTION_LINES = 3
_HEAD_WIDTH = 120
"""Pixels of the texts beside the rows of a table."""
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


@dataclass(frozen=True, slots=True)
class Cell:
    """An image. `axes`: the texts of its row and column in a table; all cells have them or none."""

    path: Path
    number: str = ""
    caption: str = ""
    axes: tuple[str, str] | None = None

    @property
    def text(self) -> str:
        return f"{self.number} {self.caption}".strip()


def contact_sheet(cells: Sequence[Cell]) -> Image.Image:
    """The images, at least one, each above its text.

    Raises RunFailed when one cannot be read.
    """
    thumbs = [_thumbnail(cell.path) for cell in cells]
    font = ImageFont.load_default(_TEXT_SIZE)
    letter = font.getlength("n" * 10) / 10
    width = max(thumb.width for thumb in thumbs)

    def wrapped(text: str, pixels: float) -> str:
        letters = max(8, int(pixels / letter))
        return textwrap.fill(text, letters, max_lines=_CAPTION_LINES, placeholder=" …")

    texts = [wrapped(cell.text, width) for cell in cells]
    height = max(t.height for t in thumbs) + 4 + _LINE * max(_lines(text) for text in texts)
    row_heads, column_heads, places = _places(cells)
    columns = len(column_heads) or 1 + max(column for _, column in places)
    rows = len(row_heads) or 1 + max(row for row, _ in places)
    row_heads = [wrapped(text, _HEAD_WIDTH) for text in row_heads]
    column_heads = [wrapped(text, width) for text in column_heads]
    left = _GAP + (_HEAD_WIDTH + _GAP if row_heads else 0)
    top = _GAP + (_LINE * max(map(_lines, column_heads)) if column_heads else 0)
    sheet = Image.new(
        "RGB", (left + columns * (width + _GAP), top + rows * (height + _GAP)), _PAPER
    )
    pen = ImageDraw.Draw(sheet)

    def write(place: tuple[int, int], text: str) -> None:
        pen.multiline_text(place, text, _INK, font, spacing=3)

    for column, text in enumerate(column_heads):
        write((left + column * (width + _GAP), _GAP), text)
    for row, text in enumerate(row_heads):
        write((_GAP, top + row * (height + _GAP)), text)
    for (row, column), thumb, text in zip(places, thumbs, texts, strict=True):
        corner = (left + column * (width + _GAP), top + row * (height + _GAP))
        sheet.paste(thumb, corner)
        write((corner[0], corner[1] + thumb.height + 4), text)
    return sheet


def save_contact_sheet(cells: Sequence[Cell], path: Path) -> None:
    """Write the sheet as a PNG, whole or not at all. Raises RunFailed."""
    sheet = contact_sheet(cells)
    data = io.BytesIO()
    sheet.save(data, "PNG")
    try:
        replace_file(path, data.getvalue())
    except OSError as error:
        raise cannot(f"write the contact sheet {path}", error) from error


def _places(cells: Sequence[Cell]) -> tuple[list[str], list[str], list[tuple[int, int]]]:
    """The heads of rows and of columns, and the row and column of each image."""
    axes = [cell.axes for cell in cells if cell.axes is not None]
    if axes:
        rows = list(dict.fromkeys(row for row, _ in axes))
        columns = list(dict.fromkeys(column for _, column in axes))
        return rows, columns, [(rows.index(row), columns.index(column)) for row, column in axes]
    count = ceil(sqrt(len(cells) * 2))  # wider than high, as a terminal is
    count = ceil(len(cells) / ceil(len(cells) / count))
    return [], [], [divmod(index, count) for index in range(len(cells))]


def _lines(text: str) -> int:
    return text.count("\n") + 1


def _thumbnail(path: Path) -> Image.Image:
    try:
        with allowing(), open_image(path) as image:
            thumb = eight_bits(image).convert("RGB")
    except OSError as error:
        raise RunFailed(f"cannot read the image {path}: {error}") from error
    thumb.thumbnail((_LARGEST, _LARGEST))
    return thumb
