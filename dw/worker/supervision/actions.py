"""Actions: what the policy can ask for. A worker is named by a number, never used again."""

from __future__ import annotations

from dataclasses import dataclass

from dw.events import Command, Event


@dataclass(frozen=True, slots=True)
class Spawn:
    """`is_spare`: no command waits for it, so none is started when host memory is short."""

    worker: int
    nice: int = 0
    is_spare: bool = False


@dataclass(frozen=True, slots=True)
class Send:
    worker: int
    command: Command


@dataclass(frozen=True, slots=True)
class DumpStack:
    """Make the worker write its stack, before it is killed."""

    worker: int


@dataclass(frozen=True, slots=True)
class Kill:
    worker: int


@dataclass(frozen=True, slots=True)
class QueryGpuMemory:
    """Ask how much memory the GPUs have free; the answer may take any time."""


@dataclass(frozen=True, slots=True)
class Emit:
    event: Event


Action = Spawn | Send | DumpStack | Kill | QueryGpuMemory | Emit
