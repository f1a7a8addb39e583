"""Tables: rows of texts as aligned or tab-separated lines.

rich.table is not used: its import takes 66 ms, it reads `[name=value ...]` as markup, and in 60
cells it drops whole columns and cuts names. These tables keep every column and wrap the last one.
"""

from __future__ import annotations

from collections.abc import Sequence

from dw.short_text import head, text_width, truncated

INDENT, GAP = " " * 2, " " * 2
NARROWEST = 8  # cells; no column but the first is squeezed below


def aligned(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int | None = None,
    *,
    wraps: bool = True,
) -> list[str]:
    """Columns side by side, for people.

    Where they need more than `width` cells of a terminal, the last column is wrapped and the others
    are truncated; it is truncated as well unless the table `wraps`.
    """
    table = [[" ".join(cell.split()) for cell in row] for row in [header, *rows]]
    widths = [max(map(text_width, column)) for column in zip(*table, strict=True)]
    if width is not None:
        widths = _squeezed(widths, width - len(INDENT) - len(GAP) * (len(widths) - 1))
    if not wraps:
        table = [[*cells, truncated(last, widths[-1])] for *cells, last in table]
    return [line for row in table for line in _row_lines(row, widths)]


def indented(text: str, width: int | None = None) -> list[str]:
    """A text below a title, wrapped to `width` cells."""
    lines = [text] if width is None else _wrapped(text, width - len(INDENT))
    return [INDENT + line for line in lines]


def tab_separated(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """One tab between columns, for `cut` and `awk`. A tab or newline in a cell becomes a blank."""
    return ["\t".join(" ".join(cell.split()) for cell in row) for row in [header, *rows]]


def _squeezed(widths: Sequence[int], total: int) -> list[int]:
    """The widest column gives, cell by cell, until all fit: of two the last, and the names in the
    first only when the others have nothing left.
    """
    first, *others = widths
    others.reverse()
    while first + sum(others) > total and max(others, default=0) > NARROWEST:
        others[others.index(max(others))] -= 1
    spare = max(total - sum(others), NARROWEST)
    return [min(first, spare), *reversed(others)]


def _row_lines(row: Sequence[str], widths: Sequence[int]) -> list[str]:
    *cells, last = row
    lead = INDENT
    for cell, width in zip(cells, widths, strict=False):
        text = truncated(cell, width)
        lead += text + " " * (width - text_width(text)) + GAP
    first, *others = _wrapped(last, widths[-1])
    return [(lead + first).rstrip(), *(" " * text_width(lead) + line for line in others)]


def _wrapped(text: str, width: int) -> list[str]:
    """At least one line of at most `width` cells each; only a longer word is broken."""
    lines = [""]
    for word in text.split():
        if text_width(joined := f"{lines[-1]} {word}".lstrip()) <= width:
            lines[-1] = joined
            continue
        rest = word
        while text_width(rest) > width:
            lines.append(head(rest, width))
            rest = rest[len(lines[-1]) :]
        lines.append(rest)
    return [line for line in lines if line] or [""]


def minutes(seconds: float) -> str:
    """`0:40`, `12:05`, `1:02:05`"""
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    text = f"{rest // 60}:{rest % 60:02}"
    return f"{hours}:{text.zfill(5)}" if hours else text
