"""Jobs on real worker processes: how often models are loaded, and how long jobs wait."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dw.jobs.job import Job
from dw.jobs.pool import Slot
from dw.jobs.queue import JobQueue
from dw.jobs.store import JobStore
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient
from tests.jobs.test_queue import request, until

SERVE = "tests.worker.children.switches_models:serve"
MAX_WAIT_S = 60.0


@dataclass
class ProcessPool:
    slots: list[Slot]

    @classmethod
    def of(cls, count: int) -> ProcessPool:
        settings = Settings(standby=False)
        return cls(
            [Slot(f"cpu{n}", "cpu", LocalWorkerClient(settings, serve=SERVE)) for n in range(count)]
        )

    def close(self) -> None:
        for slot in self.slots:
            slot.client.close()


@contextmanager
def queue(folder: Path, workers: int, *, max_wait_s: float = MAX_WAIT_S) -> Iterator[JobQueue]:
    settings = Settings(output_dir=str(folder))
    with (
        closing(JobStore(folder / "jobs.db")) as store,
        closing(JobQueue(store, ProcessPool.of(workers), settings, max_wait_s=max_wait_s)) as jobs,
    ):
        yield jobs


def loads(jobs: JobQueue, job: Job) -> int:
    return sum(event["event"] == "Loading" for _, event in jobs.events.after(job.id))


@pytest.mark.parametrize("count", [30, pytest.param(300, marks=pytest.mark.long)])
def test_jobs_of_two_workflows_on_two_workers_take_four_loads_at_most(
    tmp_path: Path, count: int
) -> None:
    with queue(tmp_path, 2) as jobs:
        ids = [jobs.submit(request("b" if n % 3 == 0 else "a"))[0].id for n in range(count)]
        ended = [until(jobs, each, within_s=120.0) for each in ids]
        assert {job.state for job in ended} == {"succeeded"}
        assert sum(loads(jobs, job) for job in ended) <= 4
        assert all(job.started - job.created <= MAX_WAIT_S for job in ended if job.started)


def test_a_job_waits_no_longer_than_allowed_and_one_run(tmp_path: Path) -> None:
    max_wait_s = 0.3
    with queue(tmp_path, 1, max_wait_s=max_wait_s) as jobs:
        first = jobs.submit(request("a"))[0].id  # the worker takes it at once, and its models
        rare = jobs.submit(request("b"))[0].id
        others = [jobs.submit(request("a"))[0].id for _ in range(200)]
        job = until(jobs, rare, within_s=60.0)
        assert job.started is not None
        late = job.created + max_wait_s
        before = [jobs.store.get(each).started for each in (first, *others)]
        overtaken = [s for s in before if s is not None and late < s < job.started]
        assert len(overtaken) <= 1, "the run that was under way, or none"
        for each in others:
            jobs.cancel(each)
