"""The next run waits for the memory of a GPU that a dead worker held."""

import pytest

from dw.events import (
    VERSION,
    Ready,
    Run,
    Warned,
)
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.actions import Emit, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.gpu_memory_return import LIMIT_S, POLL_S, SLACK
from tests.worker.policies import ready

FREE, USED = {"GPU-1": 20 << 30}, {"GPU-1": 8 << 30}


def bereaved(now=2.0):
    """A policy whose worker has died with 12 GB of a GPU, and to whom run 2 was given."""
    policy = ready()
    policy.gpu_memory_measured(FREE, 1.0)
    policy.exited(1, ExitStatus(1001, -9, oom_killed=False), now)
    actions = policy.submit(Run(2, "w", "{}", {}, "out"), now, timeout_s=5.0)
    assert QueryGpuMemory() in policy.tick(policy.next_tick())
    policy.event_received(2, Ready(VERSION, 1002, 0.1), now)
    return policy, actions


def sent(actions):
    return [action.command.run_id for action in actions if isinstance(action, Send)]


def test_the_next_run_waits_until_the_memory_of_the_dead_has_come_back():
    policy, actions = bereaved()
    assert Spawn(2) in actions
    assert sent(policy.gpu_memory_measured(USED, 2.0)) == []
    assert policy.next_tick() == 2.0 + POLL_S
    assert policy.tick(2.0 + POLL_S) == [QueryGpuMemory()]
    actions = policy.gpu_memory_measured({"GPU-1": FREE["GPU-1"] - SLACK}, 2.4)
    assert sent(actions) == [2]
    assert not any(isinstance(a.event, Warned) for a in actions if isinstance(a, Emit))
    assert str(policy.gpu_memory.outcome).startswith("free again 0.4 s after")


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        (USED, "short of 12288 MB 5.0 s after"),
        ({}, "unknown 5.0 s after"),
        (None, "unknown 5.0 s after"),
    ],
)
def test_no_run_waits_for_ever_and_it_is_told_what_is_missing(measure, words):
    policy, _ = bereaved()
    if measure is not None:
        policy.gpu_memory_measured(measure, 2.0)
    actions = policy.tick(2.0 + LIMIT_S)
    assert sent(actions) == [2]
    (warning,) = [a.event for a in actions if isinstance(a, Emit) and isinstance(a.event, Warned)]
    assert warning.run_id == 2
    assert words in warning.message


def test_where_there_is_no_gpu_nothing_is_waited_for():
    policy = ready()
    policy.gpu_memory_measured({}, 1.0)
    policy.exited(1, ExitStatus(1001, -9, oom_killed=False), 2.0)
    policy.submit(Run(2, "w", "{}", {}, "out"), 2.0)
    assert sent(policy.event_received(2, Ready(VERSION, 1002, 0.1), 2.0)) == [2]
    assert policy.gpu_memory.outcome is None
