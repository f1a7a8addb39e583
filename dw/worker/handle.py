"""Handles: what a worker client shows of a command and of its worker.

Apart from the client, for a program on a server's worker supervises no process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue

from dw.events import TERMINAL, Event


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Not an event of the worker: the user pressed Ctrl-C during the wait for one."""

    run_id: int = 0


INTERRUPTED = Interrupt()

SIGNALS_S = 0.2
"""How long the main thread waits in one piece. Of a process that was stopped, any thread may take
the signals that came meanwhile: then nothing interrupts a wait of the main one, whose handler must
run."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """`state`: none, starting, idle, running, cancelling or stopping.

    `rss` is the host memory of a process in bytes, shared parts included. `silent_s` is set while
    no heartbeat arrives. `restarts` counts crashes in a row; after `most_restarts` no standby is
    started until a worker stays up. `reload_s` is the cost of a kill, where it was measured.
    `gpu_memory` says whether the memory of the last worker that ended is free again.
    """

    state: str
    pid: int | None
    standby_pid: int | None
    run_id: int | None
    standby_trouble: str | None = None
    rss: int | None = None
    standby_rss: int | None = None
    silent_s: float | None = None
    restarts: int = 0
    most_restarts: int = 5
    reload_s: float | None = None
    gpu_memory: str | None = None


class RunHandle:
    """The events of one command, in order; the last one is terminal."""

    folder: Path | None = None  # of the run, once it has started
    leaving: str | None = None  # why the program ends, and its run with it

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self._events: SimpleQueue[Sequence[Event | Interrupt]] = SimpleQueue()

    def __iter__(self) -> Iterator[Event | Interrupt]:
        while True:
            try:
                events = self._events.get(timeout=SIGNALS_S)
            except Empty:
                continue
            for event in events:
                yield event
                if isinstance(event, TERMINAL):
                    return

    def result(self) -> Event:
        """Wait for the terminal event."""
        *_, last = self
        assert not isinstance(last, Interrupt)
        return last

    def interrupt(self) -> None:
        """Wake the thread that waits for the next event. Safe in a signal handler."""
        self._events.put((INTERRUPTED,))

    def put(self, *events: Event) -> None:
        """Each call wakes the reader once."""
        self._events.put(events)
