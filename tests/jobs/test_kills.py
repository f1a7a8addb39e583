"""The server is killed at each change of a job's state: no accepted job is lost or ends twice."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dw.jobs.job import JobState
from dw.jobs.queue import MOST_ATTEMPTS
from dw.jobs.store import JobStore

JOBS = 60


@pytest.mark.parametrize("kills", [6, pytest.param(40, marks=pytest.mark.long)])
def test_every_accepted_job_ends_once_with_its_bytes(tmp_path: Path, kills: int) -> None:
    chance = random.Random(kills)
    accepted: set[str] = set()
    for _ in range(kills):
        accepted |= served(tmp_path, kill_at=chance.randint(1, 12), expected=-signal.SIGKILL)
    accepted |= served(tmp_path, kill_at=-1, expected=0)
    assert len(accepted) == JOBS
    with closing(JobStore(tmp_path / "jobs.db")) as store:
        jobs = store.jobs(limit=-1)
        assert len(jobs) == JOBS
        for job in jobs:
            ends = [
                event["state"]
                for _, event in store.events(job.id)
                if event["event"] == "JobState" and JobState(event["state"]).is_final
            ]
            assert ends == [job.state], "it ended once"
            if job.state is JobState.SUCCEEDED:
                (artifact,) = job.artifacts
                stored = (tmp_path / "storage" / artifact.key).read_bytes()
                assert stored == f"seed {job.request.drawn_seed}".encode()
                assert hashlib.sha256(stored).hexdigest() == artifact.sha256
            else:  # the server died in each of its attempts
                assert job.error is not None
                assert (job.error.error_type, job.attempts) == ("poison_job", MOST_ATTEMPTS)
    assert sum(job.state is JobState.SUCCEEDED for job in jobs) >= JOBS - kills


def served(state: Path, *, kill_at: int, expected: int) -> set[str]:
    """The keys of the jobs that a server accepted before it was killed."""
    command = [sys.executable, "-m", "tests.jobs.killed_queue", str(state), str(JOBS), str(kill_at)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == expected, ended.stderr
    return set(ended.stdout.split())
