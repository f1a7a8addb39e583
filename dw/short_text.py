"""Short texts: values in one line, and texts cut to the cells of a terminal."""

from __future__ import annotations

import json
from typing import Any

LONGEST = 60  # characters of a value that shares its line with others
ELLIPSIS = "..."


def as_text(value: Any) -> str:
    """A value as a user types it: a string is itself, anything else is JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def in_one_line(value: Any) -> str:
    """A value, truncated to share its line with others."""
    return truncated(" ".join(as_text(value).split()), LONGEST)


def text_width(text: str) -> int:
    """The cells of a terminal that a text takes: two for a character of East Asia."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # most texts are ASCII, and rich is not loaded at the prompt

    return cell_len(text)


def truncated(text: str, width: int) -> str:
    return text if text_width(text) <= width else head(text, width - len(ELLIPSIS)) + ELLIPSIS


def head(text: str, width: int) -> str:
    """The longest beginning that fits into `width` cells, and at least one character."""
    fitting = 0
    while fitting < len(text) and text_width(text[: fitting + 1]) <= width:
        fitting += 1
    return text[: max(fitting, 1)]
