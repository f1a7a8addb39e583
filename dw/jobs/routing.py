"""Routing: which models a free worker takes next.

Switching models costs a load, so a worker goes on with those that it has while work for them waits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from dw.jobs.store import Backlog

MAX_WAIT_S = 60.0
"""A job that has waited longer is next for any worker, whatever that has loaded."""


@dataclass(frozen=True, slots=True)
class GroupCost:
    """What the jobs of a group were measured to cost, in seconds. `load_s`: their models."""

    load_s: float
    run_s: float


def next_group(
    backlogs: Sequence[Backlog],
    *,
    loaded: str | None,
    elsewhere: Collection[str],
    costs: Mapping[str, GroupCost],
    now: float,
    held_s: float = float("inf"),
    max_wait_s: float = MAX_WAIT_S,
) -> str | None:
    """The group whose jobs the free worker takes; None when it had better wait.

    `loaded` is the group whose models it has, for `held_s` seconds; `elsewhere` are those of the
    other workers, `now` is a Unix time in seconds.

    The order: a group that has waited too long, and that no other worker serves; what is loaded; a
    group that no worker has loaded; one that another worker has loaded, if its backlog takes longer
    than a second load of its models. Groups that stand equal go by priority, then by age.

    Where there is more work than time, every group has waited too long: then a worker keeps its
    models for `max_wait_s`, so that it does not load others for each job.
    """
    waiting = sorted(backlogs, key=lambda each: (-each.priority, each.oldest))
    fresh = [each for each in waiting if each.group not in elsewhere]
    late = [each for each in fresh if now - each.oldest > max_wait_s]
    is_late = loaded in [each.group for each in late]
    if late and not (is_late and held_s < max_wait_s):
        return min(late, key=lambda each: each.oldest).group
    if any(each.group == loaded for each in waiting):
        return loaded
    if fresh:
        return fresh[0].group
    return next((each.group for each in waiting if _is_worth_a_load(each, costs)), None)


def _is_worth_a_load(backlog: Backlog, costs: Mapping[str, GroupCost]) -> bool:
    """Of models that another worker has, whose costs are known once it has run a job."""
    cost = costs.get(backlog.group)
    return cost is not None and backlog.count * cost.run_s > cost.load_s
