"""Values as text, and tables of them as lines."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

Row = Sequence[str]

LONGEST = 60  # characters of a value that shares its line with others


def aligned(header: Row, rows: Sequence[Row]) -> list[str]:
    """Columns side by side, two blanks apart, indented by two, for people."""
    table = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return ["  " + "  ".join(map(str.ljust, row, widths)).rstrip() for row in table]


def tab_separated(header: Row, rows: Sequence[Row]) -> list[str]:
    """One tab between columns, for `cut` and `awk`. A tab or newline in a cell becomes a blank."""
    return ["\t".join(" ".join(cell.split()) for cell in row) for row in [header, *rows]]


def as_text(value: Any) -> str:
    """A value as it may be typed: text is itself, anything else is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def in_one_line(value: Any) -> str:
    """A value cut to a part of a line."""
    text = " ".join(as_text(value).split())
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."
