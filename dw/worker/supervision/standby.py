"""The standby worker, and the count of crashes that ends the start of new ones."""

from __future__ import annotations

from dataclasses import dataclass

from dw.worker.supervision.command_state import Limits
from dw.worker.supervision.worker_state import NEVER, State, WorkerState


@dataclass(slots=True)
class Standby:
    """A worker with its imports done, started in the background. `trouble`: why there is none."""

    worker: WorkerState | None = None
    trouble: str | None = None
    due_at: float = 0.0

    def promote(self) -> WorkerState | None:
        """It becomes the active worker. The next one is started when that one is first idle."""
        worker, self.worker = self.worker, None
        self.due_at = NEVER
        return worker

    def schedule(self, at: float) -> None:
        """Start one at that time, if there is none."""
        if self.worker is None:
            self.due_at = at

    def give_up(self, trouble: str) -> None:
        """Start no more, as the next would fail too; a run that needs a worker tries again."""
        self.trouble = trouble
        self.due_at = NEVER

    def due(self, limits: Limits, active: WorkerState | None) -> float:
        """When to start one: never beside a worker that is busy or starting."""
        if not limits.standby or self.worker is not None:
            return NEVER
        if active is not None and active.state is not State.IDLE:
            return NEVER
        return self.due_at


@dataclass(slots=True)
class CrashCount:
    """Crashes in a row, each before its worker was up for `stable_s`."""

    in_a_row: int = 0

    def add(self, lived_s: float, limits: Limits) -> None:
        self.in_a_row = 1 if lived_s >= limits.stable_s else self.in_a_row + 1

    def is_exceeded(self, limits: Limits) -> bool:
        """Whether there were more than `limits.restarts`."""
        return self.in_a_row > limits.restarts
