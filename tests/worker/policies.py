"""The supervisor's policy, as its tests need it."""

from dataclasses import replace
from typing import Any

from dw.events import (
    VERSION,
    Check,
    Finished,
    Prepare,
    Ready,
    Run,
)
from dw.types import Memory
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.supervision.actions import Spawn
from dw.worker.supervision.command_state import Limits
from dw.worker.supervision.supervisor import Supervisor

MEMORY = Memory("CPU", 0, 0, 0, 0, 0)
LIMITS = Limits(
    stall_s=20.0,
    grace_s=2.0,
    shutdown_s=1.0,
    boot_s=25.0,
    closed_pipe_s=2.0,
    exit_s=5.0,
    standby_delay_s=0.5,
)


def ready(limits=LIMITS):
    """A policy without a standby whose worker has taken run 1."""
    policy = Supervisor(replace(limits, standby=False))
    policy.submit(Run(1, "w", "{}", {}, "out"), 0.0, timeout_s=5.0)
    policy.event_received(1, Ready(VERSION, 1001, 0.1), 1.0)
    return policy


ALONE = replace(LIMITS, standby=False)
RUN, NEXT = Run(1, "w", "{}", {}, "out"), Run(2, "w", "{}", {}, "out")
CHECK, PREPARE = Check(3, "w", "{}"), Prepare(4, "w", "{}")


def done(run_id: int = 1) -> Finished:
    return Finished(run_id, "w", 0.1, 0, (), MEMORY, "out")


def greeting(number: int, version: int = VERSION) -> Ready:
    return Ready(version, 1000 + number, 0.1)


def gone(code: int = -9, number: int = 1, **facts: Any) -> ExitStatus:
    return ExitStatus(1000 + number, code, **{"oom_killed": False, **facts})


def idle(limits: Any = LIMITS) -> Supervisor:
    """A policy without a standby whose worker has done run 1."""
    policy = ready(limits)
    policy.event_received(1, done(), 2.0)
    return policy


def with_standby() -> Supervisor:
    policy = Supervisor(LIMITS)
    assert policy.tick(0.0) == [Spawn(1, nice=0, is_spare=True)]
    assert policy.event_received(1, greeting(1), 1.0) == []
    return policy
