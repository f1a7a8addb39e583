"""The return of GPU memory after a worker's exit: the next worker waits for it.

The driver frees the memory 0.5 to 1.5 s after the process has exited (measured by ollama's
authors); a load before that runs out of memory. The free memory is measured when a worker becomes
active and has allocated nothing: after a crash it is too late.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dw.worker.process.resources import Free
from dw.worker.supervision.worker_state import NEVER

POLL_S = 0.1
LIMIT_S = 5.0
SLACK = 512 << 20  # bytes; other programs allocate and free meanwhile


@dataclass(frozen=True, slots=True)
class Returned:
    """How a wait ended: after `seconds`, with `missing` bytes not freed; None when the driver did
    not answer."""

    seconds: float
    missing: int | None

    @property
    def is_whole(self) -> bool:
        return self.missing == 0

    def __str__(self) -> str:
        after = f"{self.seconds:.1f} s after the end of the last worker"
        if self.is_whole:
            return f"free again {after}"
        if self.missing is None:
            return f"unknown {after}: the driver does not answer"
        return f"short of {self.missing >> 20} MB {after}; nvidia-smi shows who holds them"


@dataclass(slots=True)
class GpuMemoryReturn:
    """Pure, like the policy: it takes measurements and says when the next one is due."""

    owner: int = 0  # the worker that was, or is, the active one
    outcome: Returned | None = None  # of the last wait
    _baseline: Free = field(default_factory=dict)
    _since: float | None = None
    _asked_at: float = 0.0
    _missing: int | None = None
    _unread: Returned | None = None

    @property
    def is_waiting(self) -> bool:
        return self._since is not None

    def begin(self, worker: int) -> None:
        """A worker becomes active: the next measurement is its baseline, if none is awaited."""
        self.owner = worker
        if not self.is_waiting:
            self._baseline = {}

    def take_warning(self) -> str | None:
        """A warning for the next run, once: memory may be short."""
        outcome, self._unread = self._unread, None
        return str(outcome) if outcome and not outcome.is_whole else None

    def exited(self, worker: int, now: float) -> None:
        if worker == self.owner and self._baseline:
            self._since = now
            self._asked_at = now - POLL_S  # the first measurement is due at once
            self._missing = None

    def measured(self, free: Free, now: float) -> None:
        if not self.is_waiting:
            self._baseline = self._baseline or free
            return
        if not self._baseline.keys() <= free.keys():
            return  # a driver that fails has not said that the memory is free
        missing = sum(max(0, was - free[gpu]) for gpu, was in self._baseline.items())
        self._missing = 0 if missing <= SLACK else missing
        if self._missing == 0:
            self._end(now)

    def due(self) -> float:
        if self._since is None:
            return NEVER
        return min(self._asked_at + POLL_S, self._since + LIMIT_S)

    def wants_measurement(self, now: float) -> bool:
        """Call when it is due. Whether to measure now; otherwise the wait has ended."""
        if self._since is None or now >= self._since + LIMIT_S:
            self._end(now)
            return False
        self._asked_at = now
        return True

    def _end(self, now: float) -> None:
        if self._since is not None:
            self.outcome = self._unread = Returned(now - self._since, self._missing)
            self._since = None
