"""The standby, and the row of restarts that ends the making of new ones."""

from __future__ import annotations

from dataclasses import dataclass

from dw.worker.supervision.command_state import Limits
from dw.worker.supervision.worker_state import NEVER, State, WorkerState


@dataclass(slots=True)
class Standby:
    """A worker with its imports done, made in the background; `trouble` says why there is none."""

    worker: WorkerState | None = None
    trouble: str | None = None
    due_at: float = 0.0

    def promote(self) -> WorkerState | None:
        """It becomes the active worker. The next one is made after the first rest of that one."""
        worker, self.worker = self.worker, None
        self.due_at = NEVER
        return worker

    def wish(self, at: float) -> None:
        """Have one made at that time, if there is none."""
        if self.worker is None:
            self.due_at = at

    def give_up(self, trouble: str) -> None:
        """The next one would fare no better; a run that needs a worker tries again."""
        self.trouble = trouble
        self.due_at = NEVER

    def due(self, limits: Limits, active: WorkerState | None) -> float:
        """When to make one: never beside a worker that is busy or starts."""
        if not limits.standby or self.worker is not None:
            return NEVER
        if active is not None and active.state is not State.IDLE:
            return NEVER
        return self.due_at


@dataclass(slots=True)
class CrashCount:
    """Unasked deaths one after the other, none of them after a stable life."""

    length: int = 0

    def count(self, life_s: float, limits: Limits) -> None:
        self.length = 1 if life_s >= limits.stable_s else self.length + 1

    def is_over(self, limits: Limits) -> bool:
        """Whether there were so many that another restart is no answer."""
        return self.length > limits.restarts
