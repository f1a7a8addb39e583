"""Sweeps: several values for an argument make one run for each.

A name that is given more than once has several values: `prompt="a cat" prompt="a dog"`, and so has
one with a file of lines: `prompt=@@prompts.txt`. An argument that is a number, a class or a file
also takes a list, as in `steps=20,30` and `seed=1..4`; any other text keeps its commas.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import Any

from dw.errors import UsageError
from dw.jobs.lines import Lines
from dw.jobs.request import draw_seed
from dw.jobs.wildcards import Wildcards
from dw.jobs.workflow_arguments import OpenWorkflow, seed_of
from dw.seeds import MAX_SEED

MOST = 1000
"""The limit of runs in one sweep: a longer range is most likely a typing error."""

_NUMBER = r"-?\d+(?:\.\d+)?"
_RANGE = re.compile(rf"({_NUMBER})\.\.({_NUMBER})(?:\.\.({_NUMBER}))?")
_LISTED = frozenset({"integer", "number", "boolean"})
_NAMED = re.compile(r"(^|_)(type|dtype|class|file|path|name|location|variant)$")
"""Keys of the format whose texts name a class or a file."""


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """The arguments of one run. `drawn_seed` is for a run that names no seed."""

    arguments: dict[str, Any]
    drawn_seed: int


def plan_runs(
    workflow: OpenWorkflow,
    given: Sequence[tuple[str, Any]],
    *,
    count: int | None = None,
    last_seed: int | None = None,
    wildcards: Wildcards | None = None,
    drawn_seed: int | None = None,
) -> tuple[PlannedRun, ...]:
    """The runs that these arguments make, at least one, with their wildcards drawn.

    `count`: so many of each, by consecutive seeds. `drawn_seed` is that of runs for which none is
    given; without it one is drawn. Raises UsageError for a value that does not fit,
    and when there are more than MOST.
    """
    given = _with_count(workflow, given, count, last_seed)
    # One seed for all, so that their images differ only by the swept arguments.
    drawn = draw_seed() if drawn_seed is None else drawn_seed
    runs = []
    for arguments in combinations(workflow, given):
        bound = workflow.with_arguments(arguments, last_seed)
        if wildcards is not None:
            texts = {n: v for n, v in bound.overrides.items() if isinstance(v, str)}
            arguments |= wildcards.draw(texts, bound.effective_seed(drawn))
        runs.append(PlannedRun(arguments, drawn))
    return tuple(runs)


def combinations(
    workflow: OpenWorkflow, given: Sequence[tuple[str, Any]]
) -> tuple[dict[str, Any], ...]:
    """The arguments of each run, in every combination; those of the last name vary fastest.

    Raises UsageError when there are more than MOST.
    """
    values: dict[str, list[Any]] = {}
    count = 1
    for name, value in given:
        found = list(value) if isinstance(value, Lines) else [value]
        if isinstance(value, str) and _is_listed(workflow, name) and not os.path.exists(value):
            found = [each for part in value.split(",") for each in _expand_range(part)]
        values.setdefault(name, []).extend(found)
    for name, each in values.items():
        count *= len(each)
        if workflow.is_seed(name) and (len(each) > 1 or workflow.declares(name)):
            values[name] = [draw_seed() if value == "random" else value for value in each]
    if count > MOST:
        raise UsageError(f"a sweep has at most {MOST} runs, this one has {count}")
    return tuple(dict(zip(values, each, strict=True)) for each in product(*values.values()))


def swept(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of the arguments that differ between runs."""
    return [name for name in runs[0] if any(run[name] != runs[0][name] for run in runs)]


def _with_count(
    workflow: OpenWorkflow,
    given: Sequence[tuple[str, Any]],
    count: int | None,
    last_seed: int | None,
) -> Sequence[tuple[str, Any]]:
    """The same with `count` consecutive seeds, from the one that is given or set."""
    if count is None:
        return given
    if not 1 <= count <= MOST:
        raise UsageError(f"a sweep has 1 to {MOST} runs, -n has {count}")
    seeds = [value for name, value in given if name == "seed"]
    if len(seeds) > 1 or (seeds and re.search(r",|\.\.", str(seeds[0]))):
        raise UsageError("-n counts seeds: it takes one seed to begin with, not several")
    start = workflow.changed().get("seed", "random")
    start = seed_of(seeds[0] if seeds else start, last_seed)
    first = start if isinstance(start, int) else draw_seed()
    others = [(name, value) for name, value in given if name != "seed"]
    return [*others, *(("seed", (first + index) % (MAX_SEED + 1)) for index in range(count))]


def _is_listed(workflow: OpenWorkflow, name: str) -> bool:
    """Whether a text for the argument may be a list."""
    row = next((each for each in workflow.arguments() if each.name == name), None)
    if row is None or row.type in _LISTED:
        return row is not None
    limits = workflow.document.inputs.get(name)
    if limits is not None and limits.enum is not None:
        return not any("," in str(each) for each in limits.enum)
    paths = [path for path, used in workflow.document.uses.items() if used == name]
    keys = [next((k for k in reversed(path) if isinstance(k, str)), "") for path in paths]
    return row.type == "text" and bool(keys) and all(map(_NAMED.search, keys))


def _expand_range(part: str) -> list[str]:
    """The numbers of `FIRST..LAST` or `FIRST..LAST..STEP`, both ends included, up or down; else
    `part`."""
    if (match := _RANGE.fullmatch(part)) is None:
        return [part]
    first, last = Decimal(match[1]), Decimal(match[2])
    step = abs(Decimal(match[3] or 1))
    if not step:
        raise UsageError(f"the step of {part} is 0")
    count = int(abs(last - first) / step) + 1
    if count > MOST:
        raise UsageError(f"a sweep has at most {MOST} runs, {part} has {count}")
    way = step if first <= last else -step
    return [str(first + way * index) for index in range(count)]
