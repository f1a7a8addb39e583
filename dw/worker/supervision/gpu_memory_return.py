"""The return of a dead worker's GPU memory, waited for before the next one loads into it.

The driver gives it back 0.5 to 1.5 s after the process is gone (measured by ollama's authors), and
who loads meanwhile runs out of memory for no reason. What was free is measured when a worker
becomes active and has touched nothing yet: after a crash it would be too late to know.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dw.worker.process.resources import Free
from dw.worker.supervision.worker_state import NEVER

POLL_S = 0.1
PATIENCE_S = 5.0
SLACK = 512 << 20  # bytes; other programs come and go meanwhile


@dataclass(frozen=True, slots=True)
class Returned:
    """How a wait ended: after `seconds`, with `missing` bytes that had not come back; None when
    the driver did not answer."""

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
    """Pure, as the policy is: fed with measures, asked when the next one is due."""

    owner: int = 0  # the worker that was, or is, the active one
    outcome: Returned | None = None  # of the last wait
    _baseline: Free = field(default_factory=dict)
    _since: float | None = None
    _asked_at: float = 0.0
    _missing: int | None = None
    _news: Returned | None = None

    @property
    def is_waiting(self) -> bool:
        return self._since is not None

    def begin(self, worker: int) -> None:
        """It becomes active: the next measure is its baseline, or still its predecessor's."""
        self.owner = worker
        if not self.is_waiting:
            self._baseline = {}

    def take_warning(self) -> str | None:
        """What the next run should know, once: that it may be short of memory."""
        news, self._news = self._news, None
        return str(news) if news and not news.is_whole else None

    def died(self, worker: int, now: float) -> None:
        if worker == self.owner and self._baseline:
            self._since = now
            self._asked_at = now - POLL_S  # the first measure is due at once
            self._missing = None

    def measured(self, free: Free, now: float) -> None:
        if not self.is_waiting:
            self._baseline = self._baseline or free
            return
        if not self._baseline.keys() <= free.keys():
            return  # a driver that fails has not said that the memory is back
        missing = sum(max(0, was - free[gpu]) for gpu, was in self._baseline.items())
        self._missing = 0 if missing <= SLACK else missing
        if self._missing == 0:
            self._end(now)

    def due(self) -> float:
        if self._since is None:
            return NEVER
        return min(self._asked_at + POLL_S, self._since + PATIENCE_S)

    def wants_measure(self, now: float) -> bool:
        """Asked when it is due: whether to measure now. Else it is given up."""
        if self._since is None or now >= self._since + PATIENCE_S:
            self._end(now)
            return False
        self._asked_at = now
        return True

    def _end(self, now: float) -> None:
        if self._since is not None:
            self.outcome = self._news = Returned(now - self._since, self._missing)
            self._since = None
