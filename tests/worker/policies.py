"""The supervisor's policy, as its tests need it."""

from dataclasses import replace

from dw.events import (
    VERSION,
    Ready,
    Run,
)
from dw.types import Memory
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
