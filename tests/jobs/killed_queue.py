"""A program around a job queue that kills itself: `python -m tests.jobs.killed_queue STATE JOBS N`.

It accepts JOBS jobs, under the same keys each time, and is killed by SIGKILL at the N-th change of
a state. It exits with 0 when every job has ended.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from dw import events, run_record
from dw.events import Event, Run
from dw.jobs.job import Job
from dw.jobs.pool import Slot
from dw.jobs.queue import JobQueue
from dw.jobs.store import JobStore
from dw.settings import Settings
from dw.types import OutputFile
from tests.jobs.test_queue import request
from tests.repl.fake import FakeClient, execute, load


class DrawingClient(FakeClient):
    """A worker whose runs leave a file and a record, as a real one does."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder

    def _run(self, run: Run) -> Iterator[Event]:
        content = f"seed {run.drawn_seed}".encode()
        folder = self._folder / f"{os.getpid()}-{id(self)}-{run.run_id}"
        folder.mkdir(parents=True)
        yield events.Started(run.run_id, "demo", run.drawn_seed, str(folder))
        yield from load(self, run)
        yield from execute(run)
        (folder / "a.png").write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        output = OutputFile(str(folder / "a.png"), "image/png", len(content), digest)
        described = {
            "path": "a.png",
            "content_type": "image/png",
            "nbytes": len(content),
            "sha256": digest,
        }
        run_record.write(folder, {"state": "finished", "outputs": [described]})
        yield events.Finished(run.run_id, "demo", 0.1, 1, (output,), self.memory(), str(folder))


class DrawingPool:
    def __init__(self, folder: Path) -> None:
        self.slots = [Slot(f"cpu{n}", "cpu", DrawingClient(folder)) for n in range(2)]

    def close(self) -> None:
        pass


def main(state: Path, jobs: int, kill_at: int) -> int:
    changes = 0
    left = threading.Event()

    def changed(job: Job) -> None:
        nonlocal changes
        changes += 1
        if changes == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if job.state.is_final:
            left.set()

    with closing(JobStore(state / "jobs.db")) as store:
        queue = JobQueue(store, DrawingPool(state / "runs"), Settings(), on_change=[changed])
        for number in range(jobs):
            key = f"job-{number}"
            queue.submit(request("ab"[number % 2], storage=str(state / "storage")), key=key)
            sys.stdout.write(f"{key}\n")
            sys.stdout.flush()
        while any(not job.state.is_final for job in store.jobs(limit=-1)):
            left.wait(1.0)
            left.clear()
        queue.close(0.0)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
