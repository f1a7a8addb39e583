"""The table of a workflow's arguments."""

from __future__ import annotations

from collections.abc import Sequence

from dw.jobs.workflow_arguments import Argument


def with_allowed(
    header: tuple[str, ...], rows: Sequence[tuple[str, ...]], arguments: Sequence[Argument]
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """A table of arguments with a column for what is allowed, where the workflow says so."""
    if not any(each.allowed for each in arguments):
        return header, list(rows)
    cells = [(*row, each.allowed) for row, each in zip(rows, arguments, strict=True)]
    return (*header, "allowed"), cells
