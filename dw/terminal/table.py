"""Values as text, and tables of them as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Row = Sequence[str]

LONGEST = 60  # characters of a value that shares its line with others
INDENT, GAP = " " * 2, " " * 2
NARROWEST = 8  # cells of the terminal that a column is not squeezed below
ELLIPSIS = "..."


def aligned(header: Row, rows: Sequence[Row], width: int | None = None) -> list[str]:
    """Columns side by side, for people.

    Where they need more than `width` cells of a terminal, the last column goes on in lines of its
    own and the others are cut.
    """
    table = [[" ".join(cell.split()) for cell in row] for row in [header, *rows]]
    widths = [max(map(text_width, column)) for column in zip(*table, strict=True)]
    if width is not None:
        widths = _squeezed(widths, width - len(INDENT) - len(GAP) * (len(widths) - 1))
    return [line for row in table for line in _row(row, widths)]


def indented(text: str, width: int | None = None) -> list[str]:
    """A text below a title, in as many lines as it needs."""
    lines = [text] if width is None else _wrapped(text, width - len(INDENT))
    return [INDENT + line for line in lines]


def tab_separated(header: Row, rows: Sequence[Row]) -> list[str]:
    """One tab between columns, for `cut` and `awk`. A tab or newline in a cell becomes a blank."""
    return ["\t".join(" ".join(cell.split()) for cell in row) for row in [header, *rows]]


def as_text(value: Any) -> str:
    """A value as it may be typed: text is itself, anything else is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def in_one_line(value: Any) -> str:
    """A value cut to a part of a line."""
    return cut(" ".join(as_text(value).split()), LONGEST)


def text_width(text: str) -> int:
    """The cells of a terminal that a text takes: two for a character of East Asia."""
    if text.isascii():
        return len(text)
    from prompt_toolkit.utils import get_cwidth

    return get_cwidth(text)


def _squeezed(widths: Sequence[int], width: int) -> list[int]:
    """The widest column gives, cell by cell, until all fit: of two the last, and the names in the
    first only when the others have nothing left.
    """
    first, *others = widths
    others.reverse()
    while first + sum(others) > width and max(others, default=0) > NARROWEST:
        others[others.index(max(others))] -= 1
    spare = max(width - sum(others), NARROWEST)
    return [min(first, spare), *reversed(others)]


def _row(row: Row, widths: Sequence[int]) -> list[str]:
    *cells, last = row
    lead = INDENT
    for cell, width in zip(cells, widths, strict=False):
        text = cut(cell, width)
        lead += text + " " * (width - text_width(text)) + GAP
    first, *others = _wrapped(last, widths[-1])
    return [(lead + first).rstrip(), *(" " * text_width(lead) + line for line in others)]


def _wrapped(text: str, width: int) -> list[str]:
    """At least one line of at most `width` cells each; only a word that needs more is broken."""
    lines = [""]
    for word in text.split():
        if text_width(joined := f"{lines[-1]} {word}".lstrip()) <= width:
            lines[-1] = joined
            continue
        rest = word
        while text_width(rest) > width:
            lines.append(_head(rest, width))
            rest = rest[len(lines[-1]) :]
        lines.append(rest)
    return [line for line in lines if line] or [""]


def cut(text: str, width: int) -> str:
    return text if text_width(text) <= width else _head(text, width - len(ELLIPSIS)) + ELLIPSIS


def _head(text: str, width: int) -> str:
    """As much of its beginning as fits, and at least a character."""
    fitting = 0
    while fitting < len(text) and text_width(text[: fitting + 1]) <= width:
        fitting += 1
    return text[: max(fitting, 1)]
