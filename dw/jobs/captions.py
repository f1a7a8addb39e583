"""Captions: what tells each run of a sweep from the others, for lists and contact sheets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.jobs.sweep import swept
from dw.short_text import as_text, in_one_line

if TYPE_CHECKING:
    from dw.contact_sheet import Cell

Arguments = Mapping[str, Any]


def captions(runs: Sequence[Arguments]) -> list[str]:
    """For each run what tells it from the others."""
    names = swept(runs) or list(runs[0])[:1]
    return [caption(run, names) for run in runs]


def caption(run: Arguments, names: Sequence[str]) -> str:
    """The arguments that differ from the other runs: `seed=3, steps=20`, or only a lone text.

    Short ones come first, because a contact sheet may show the beginning only.
    """
    if len(names) == 1 and isinstance(value := run[names[0]], str) and not value.isdigit():
        return in_one_line(value)
    parts = [f"{name}={in_one_line(as_text(run[name]))}" for name in names]
    return ", ".join(sorted(parts, key=len))


def axes(runs: Sequence[Arguments]) -> list[tuple[str, str]] | None:
    """The row and the column of each run in a table by the last two names that are swept; one in
    which other names are swept too has rows for each of their values. None for one name."""
    names = swept(runs)
    if len(names) < 2:
        return None
    *rows, column = names
    found = [(caption(run, rows), caption(run, [column])) for run in runs]
    return found if len(set(found)) == len(found) else None


def sheet_cells(
    runs: Sequence[Arguments], images: Mapping[int, Sequence[Path]], numbers: Mapping[int, str]
) -> list[Cell]:
    """The cells of a sweep's contact sheet: the images of each run, by its index in `runs`, in a
    table where each run has one and two names are swept. `numbers`: what each run is called."""
    from dw.contact_sheet import Cell  # which loads Pillow

    titles = captions(runs)
    is_grid = all(len(each) <= 1 for each in images.values())
    table = axes(runs) if is_grid else None
    return [
        Cell(path, numbers[index], "" if table else titles[index], table[index] if table else None)
        for index, paths in images.items()
        for path in paths
    ]
