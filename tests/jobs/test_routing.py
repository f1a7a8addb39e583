"""Routing: which models a free worker takes next."""

from __future__ import annotations

from collections import Counter

import pytest

from dw.jobs.routing import GroupCost, next_group
from dw.jobs.store import Backlog

COSTS = {"a": GroupCost(load_s=10.0, run_s=1.0), "b": GroupCost(load_s=10.0, run_s=1.0)}
A, B = Backlog("a", 5, 95.0, 0), Backlog("b", 5, 90.0, 0)


@pytest.mark.parametrize(
    ("waiting", "loaded", "elsewhere", "expected"),
    [
        pytest.param([], "a", [], None, id="nothing to do"),
        pytest.param([A, B], "a", [], "a", id="what is loaded, though another is older"),
        pytest.param([A, B], None, [], "b", id="the oldest first"),
        pytest.param([Backlog("a", 1, 95.0, 1), B], None, [], "a", id="priority before age"),
        pytest.param([Backlog("a", 1, 95.0, 1), B], "b", [], "b", id="what is loaded before it"),
        pytest.param([A, B], None, ["b"], "a", id="what no other worker has"),
        pytest.param([A], "b", ["a"], None, id="a short backlog stays with its worker"),
        pytest.param([Backlog("a", 11, 95.0, 0)], "b", ["a"], "a", id="a long one is shared"),
        pytest.param([Backlog("c", 99, 95.0, 0)], "b", ["c"], None, id="of unknown cost: not yet"),
        pytest.param([A, Backlog("b", 1, 39.0, 0)], "a", [], "b", id="waited too long"),
        pytest.param([A, Backlog("b", 1, 40.0, 0)], "a", [], "a", id="at the limit"),
        pytest.param([A, Backlog("b", 1, 39.0, 0)], "a", ["b"], "a", id="late, but served"),
        pytest.param(
            [A, Backlog("b", 1, 39.0, 9), Backlog("c", 1, 38.0, 0)], "a", [], "c", id="the latest"
        ),
    ],
)
def test_the_next_group(
    waiting: list[Backlog], loaded: str | None, elsewhere: list[str], expected: str | None
) -> None:
    found = next_group(
        waiting, loaded=loaded, elsewhere=elsewhere, costs=COSTS, now=100.0, max_wait_s=60.0
    )
    assert found == expected


def test_three_hundred_jobs_of_two_workflows_on_two_workers_take_four_loads_at_most() -> None:
    """With a load of 0.2 s and runs of 2 ms, one worker after the other taking its next job."""
    costs = {name: GroupCost(0.2, 0.002) for name in "ab"}
    left, loads = Counter(a=200, b=100), 0
    loaded: list[str | None] = [None, None]
    free_at = [0.0, 0.0]
    while left.total():
        worker = free_at.index(min(free_at))
        now = free_at[worker]
        group = next_group(
            [Backlog(name, count, 0.0, 0) for name, count in left.items() if count],
            loaded=loaded[worker],
            elsewhere=[name for name in (loaded[1 - worker],) if name],
            costs=costs,
            now=now,
        )
        if group is None:  # it waits for the other worker's next job
            free_at[worker] = free_at[1 - worker] + 0.001
            continue
        loads += group != loaded[worker]
        free_at[worker] += 0.002 + (0.2 if group != loaded[worker] else 0.0)
        loaded[worker] = group
        left[group] -= 1
    assert loads <= 4


def test_a_worker_with_too_much_work_does_not_load_for_each_job() -> None:
    """Jobs of 1 s of two workflows, all of which have waited too long, one after the other."""
    left = [("ab"[number % 2], float(number)) for number in range(300)]
    now, since, loads = 1000.0, 0.0, 0
    loaded: str | None = None
    while left:
        group = next_group(
            [
                Backlog(name, len(ages), min(ages), 0)
                for name in "ab"
                if (ages := [age for each, age in left if each == name])
            ],
            loaded=loaded,
            elsewhere=(),
            costs={},
            now=now,
            held_s=now - since,
            max_wait_s=60.0,
        )
        if group != loaded:
            loads, loaded, since = loads + 1, group, now
        left.remove(min(each for each in left if each[0] == group))
        now += 1.0
    assert loads == 6, "each 60 s at the soonest"
