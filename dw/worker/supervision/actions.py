"""What the supervisor's policy can ask for. Workers go by a number, never used again."""

from __future__ import annotations

from dataclasses import dataclass

from dw.events import Command, Event


@dataclass(frozen=True, slots=True)
class Spawn:
    """`is_spare`: nobody waits for it, so that it is not made where host memory is short."""

    worker: int
    nice: int = 0
    is_spare: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    worker: int
    command: Command


@dataclass(frozen=True, slots=True)
class DumpStack:
    """Have the worker leave its stack: its kill is next."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    worker: int


@dataclass(frozen=True, slots=True)
class QueryGpuMemory:
    """Ask how much memory the GPUs have free; the answer comes when it comes."""


@dataclass(frozen=True, slots=True)
class Emit:
    event: Event


Action = Spawn | Send | DumpStack | Kill | QueryGpuMemory | Emit
