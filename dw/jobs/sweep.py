"""Sweeps: several values for an argument make one run for each.

A name that is given more than once has several values: `prompt="a cat" prompt="a dog"`. An argument
that is not a text also takes a list, as in `steps=20,30` and `seed=1..4`; a text keeps its commas.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from dw.errors import UsageError
from dw.jobs.workflow_arguments import OpenWorkflow

MOST = 1000
"""The limit of runs in one sweep: a longer range is most likely a typing error."""

_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_LISTED = frozenset({"integer", "number", "boolean"})


def combinations(
    workflow: OpenWorkflow, given: Sequence[tuple[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The arguments of each run, in every combination; those of the last name vary fastest.

    Raises UsageError when there are more than MOST.
    """
    types = {row.name: row.type for row in workflow.arguments()}
    values: dict[str, list[Any]] = {}
    count = 1
    for name, value in given:
        found = [value]
        if isinstance(value, str) and types.get(name) in _LISTED:
            found = [each for part in value.split(",") for each in _expand_range(part)]
        values.setdefault(name, []).extend(found)
    for each in values.values():
        count *= len(each)
    if count > MOST:
        raise UsageError(f"a sweep has at most {MOST} runs, this one has {count}")
    return tuple(dict(zip(values, each, strict=True)) for each in product(*values.values()))


def swept(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the arguments that differ between runs."""
    return [name for name in runs[0] if any(run[name] != runs[0][name] for run in runs)]


def _expand_range(part: str) -> list[str]:
    """The numbers from FIRST to LAST of `FIRST..LAST`, both included, up or down; else `part`."""
    if (match := _RANGE.fullmatch(part)) is None:
        return [part]
    first, last = int(match[1]), int(match[2])
    if abs(last - first) >= MOST:
        raise UsageError(
            f"a sweep has at most {MOST} runs, {first}..{last} has {abs(last - first) + 1}"
        )
    way = 1 if first <= last else -1
    return [str(number) for number in range(first, last + way, way)]
