"""The background: runs that go on behind a live prompt, in the order in which they were typed.

The worker's queue orders them, also beside those that hold the prompt. One thread follows them, and
what it has to tell waits until the prompt can show it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue

from dw.errors import EXIT_OK, DwError
from dw.events import Event, Finished, Produced, Warned
from dw.jobs.outcome import follow
from dw.jobs.request import RunRequest
from dw.jobs.worker import EventStream, WorkerClient
from dw.terminal.brief import Brief
from dw.terminal.messages import display_path

Notice = str | DwError


@dataclass(frozen=True, slots=True)
class Job:
    """`differs`: what this run was given otherwise."""

    number: int
    stream: EventStream
    differs: str


class Background:
    """`announce` is called, in another thread, when there is something to show."""

    def __init__(self, client: WorkerClient) -> None:
        self._client = client
        self.announce: Callable[[], None] = lambda: None
        self._notices: SimpleQueue[Notice] = SimpleQueue()
        self._added: SimpleQueue[Job] = SimpleQueue()
        self._jobs: dict[int, Job] = {}
        self._last = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._code = EXIT_OK

    def add(self, request: RunRequest, differs: str) -> int:
        """Submit a run. Returns its number here."""
        self._last += 1
        job = Job(self._last, self._client.submit(request.run, request.timeout_s), differs)
        with self._changed:
            self._jobs[job.number] = job
        self._added.put(job)
        if self._thread is None:
            self._thread = threading.Thread(target=self._follow, name="background", daemon=True)
            self._thread.start()
        return job.number

    @property
    def jobs(self) -> list[Job]:
        """Those that have not ended, in their order."""
        with self._changed:
            return list(self._jobs.values())

    def cancel(self, number: int) -> None:
        """Raises KeyError for one that has ended or never was."""
        with self._changed:
            job = self._jobs[number]
        self._client.cancel(job.stream.run_id)

    def wait(self, limit_s: float) -> bool:
        """Wait so long for all to end. Returns whether they have."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._jobs, limit_s)

    def notices(self) -> list[Notice]:
        """What is to be shown, each thing once."""
        return [self._notices.get() for _ in range(self._notices.qsize())]

    def exit_code(self) -> int:
        """That of the first failure since the last call."""
        code, self._code = self._code, EXIT_OK
        return code

    def _follow(self) -> None:
        while True:
            job = self._added.get()
            self._tell(job)
            with self._changed:
                del self._jobs[job.number]
                self._changed.notify_all()
            self.announce()

    def _tell(self, job: Job) -> None:
        files: list[str] = []

        def note(event: Event) -> None:
            if isinstance(event, Produced):
                files.append(display_path(event.output.path))
            elif isinstance(event, Warned):
                self._notices.put(f"[{job.number}] warning: {event.message}")

        outcome = follow(job.stream, on_event=note, on_interrupt=lambda: None)
        if outcome.error is not None:
            self._code = self._code or outcome.error.exit_code
            outcome.error.message = f"[{job.number}] {outcome.error.message}"
            self._notices.put(outcome.error)
        elif isinstance(outcome.event, Finished):
            line = Brief(job.differs, f"[{job.number}]").line(outcome.event, outcome.event.seconds)
            self._notices.put("  ".join([line, *files[:1]]))
