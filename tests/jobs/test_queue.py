"""The job queue: every accepted job ends once, whatever happens to its workers and its server."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from dw import events, run_record
from dw.events import Event, Run
from dw.jobs.job import FINAL, Artifact, Job, JobState
from dw.jobs.job_request import JobRequest, job_request
from dw.jobs.pool import Slot
from dw.jobs.queue import Draining, JobQueue, QueueFull
from dw.jobs.routing import MAX_WAIT_S
from dw.jobs.store import IllegalTransition, JobStore
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.settings import Settings
from dw.types import OutputFile
from dw.workflow import parse_document
from tests.repl.fake import Answer, FakeClient, ending_with, execute, load

WITHIN_S = 10.0


def opened(name: str = "demo", **arguments: Any) -> OpenWorkflow:
    text = {
        "id": name,
        "variables": {"prompt": "a cat", "model": "nobody/tiny"},
        "steps": [
            {
                "name": "gen",
                "pipeline": {
                    "configuration": {"component_type": "FluxPipeline"},
                    "from_pretrained_arguments": {"model_name": "variable:model"},
                    "arguments": {"prompt": "variable:prompt"},
                },
                "result": {"content_type": "image/png"},
            }
        ],
    }
    workflow = OpenWorkflow(parse_document(json.dumps(text), Path(f"{name}.json")))
    workflow.set(arguments)
    return workflow


def request(name: str = "demo", **options: Any) -> JobRequest:
    return job_request(opened(name), **options)


class FakePool:
    def __init__(self, count: int = 1, **client: Any) -> None:
        self.slots = [Slot(f"cpu{n}", "cpu", FakeClient()) for n in range(count)]

    @property
    def clients(self) -> list[FakeClient]:
        return [slot.client for slot in self.slots]  # type: ignore[misc]

    def close(self) -> None:
        for client in self.clients:
            client.close()


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(tmp_path / "jobs.db")


@contextmanager
def queue(store: JobStore, pool: FakePool, **options: Any) -> Iterator[JobQueue]:
    settings = Settings(output_dir="outputs", timeout=9.0)
    with closing(JobQueue(store, pool, settings, **options)) as made:
        yield made


def until(
    jobs: JobQueue,
    job_id: str,
    states: Sequence[JobState] = tuple(FINAL),
    *,
    within_s: float = WITHIN_S,
) -> Job:
    """Wait for one of the states."""
    woken = threading.Event()
    give_up = time.monotonic() + within_s
    with jobs.events.watched(job_id, woken.set):
        while (job := jobs.store.get(job_id)).state not in states:
            assert woken.wait(give_up - time.monotonic()), f"still {job.state}"
            woken.clear()
    return job


def states(jobs: JobQueue, job_id: str) -> list[str]:
    return [e["state"] for _, e in jobs.events.after(job_id) if e["event"] == "JobState"]


def writes(folder: Path, data: bytes = b"picture") -> Answer:
    """A run that leaves a real file and its record."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        yield from load(client, run)
        yield from execute(run)
        folder.mkdir(exist_ok=True)
        (folder / "a.png").write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        made = OutputFile(str(folder / "a.png"), "image/png", len(data), digest, 64, 64)
        yield events.Finished(run.run_id, "demo", 0.5, 1, (made,), client.memory(), str(folder))

    return answer


def test_a_job_goes_from_state_to_state_to_its_results(store: JobStore) -> None:
    pool = FakePool()
    with queue(store, pool) as jobs:
        job, is_new = jobs.submit(request(timeout_s=5.0))
        ended = until(jobs, job.id)
        assert is_new
        assert ended.state is JobState.SUCCEEDED
        assert [each.content_type for each in ended.artifacts] == ["image/png"]
        assert states(jobs, job.id) == ["queued", "loading", "running", "uploading", "succeeded"]
        assert ended.folder is not None
    (run,) = (c for c in pool.clients[0].commands if isinstance(c, Run))
    assert (run.device, run.drawn_seed) == ("cpu", job.request.drawn_seed)
    assert pool.clients[0].timeouts == [5.0]
    assert pool.clients[0].is_closed


def test_the_events_of_the_worker_are_kept_and_its_progress_passes(store: JobStore) -> None:
    with queue(store, FakePool()) as jobs:
        job, _ = jobs.submit(request())
        until(jobs, job.id)
        seen = jobs.events.after(job.id)
        numbers = [number for number, _ in seen]
        names = [event["event"] for _, event in seen]
    assert numbers == sorted(set(numbers))
    assert {"Started", "Planned", "Produced", "Finished"} <= set(names)
    assert "Stepped" not in names, "only while it runs"
    assert jobs.events.after(job.id, numbers[-3]) == seen[-2:]


def test_of_its_previews_a_job_keeps_the_last_ones_while_it_runs(store: JobStore) -> None:
    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        for step in range(1, 9):
            yield events.Preview(run.run_id, "gen", step, 9)
        yield from hang(client, run)

    pool = FakePool()
    pool.clients[0].answers = [answer]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request(previews=True, partial_images=2))
        until(jobs, job.id, [JobState.RUNNING])
        seen = jobs.events.after(job.id)
        assert [e["step"] for _, e in seen if e["event"] == "Preview"] == [6, 7, 8]
        jobs.cancel(job.id)
        until(jobs, job.id)
        assert all(e["event"] != "Preview" for _, e in jobs.events.after(job.id))
    (run,) = (c for c in pool.clients[0].commands if isinstance(c, Run))
    assert (run.preview_s, run.partial_images) == (1.0, 2)
    assert job_request(opened(), previews=True).digest == job_request(opened()).digest


def test_jobs_of_one_workflow_go_on_before_the_models_are_switched(store: JobStore) -> None:
    pool = FakePool()
    with queue(store, pool) as jobs:
        with jobs._changed:  # the worker takes its first job when all are there
            submitted = [jobs.submit(request(name))[0].id for name in ("a", "b", "a", "b", "a")]
        for job_id in submitted:
            until(jobs, job_id)
    names = [json.loads(c.text)["id"] for c in pool.clients[0].commands if isinstance(c, Run)]
    assert names == ["a", "a", "a", "b", "b"]


def test_arguments_of_the_models_make_another_group() -> None:
    plain = job_request(opened())
    assert job_request(opened(prompt="a hen")).group == plain.group
    assert job_request(opened(model="nobody/other")).group != plain.group
    assert job_request(opened("other")).group != plain.group


def test_a_waiting_job_is_cancelled_at_once_and_never_runs(store: JobStore) -> None:
    pool = FakePool()
    with queue(store, pool) as jobs:
        with jobs._changed:
            job, _ = jobs.submit(request())
            assert jobs.cancel(job.id).state is JobState.CANCELLED
        assert jobs.cancel(job.id).state is JobState.CANCELLED, "once more does no harm"
    assert not pool.clients[0].commands


def hang(client: FakeClient, run: Run) -> Iterator[Event]:
    yield from load(client, run)
    yield from execute(run)


def test_a_running_job_is_cancelled_by_the_worker(store: JobStore) -> None:
    pool = FakePool()
    pool.clients[0].answers = [hang]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request())
        until(jobs, job.id, [JobState.RUNNING])
        jobs.cancel(job.id)
        assert until(jobs, job.id).state is JobState.CANCELLED
        another, _ = jobs.submit(request())
        assert until(jobs, another.id).state is JobState.SUCCEEDED, "the worker lives"


ENDS: list[tuple[Callable[[int], Event], str, str, str]] = [
    (lambda n: events.Failed(n, "run", "it broke"), "failed", "execution_error", "it broke"),
    (lambda n: events.Failed(n, "usage", "no"), "failed", "invalid_value", "no"),
    (lambda n: events.Failed(n, "resources", "no memory"), "failed", "out_of_memory", "no memory"),
    (lambda n: events.Failed(n, "bug", "KeyError"), "failed", "internal_error", "KeyError"),
    (
        lambda n: events.RunTimedOut(n, "deadline", 5.0, keeps_models=True),
        "timed_out",
        "timed_out",
        "not done after 5 s",
    ),
    (
        lambda n: events.Died(n, "boot", "no torch", 7),
        "failed",
        "initialization_error",
        "the worker could not start: no torch",
    ),
]


@pytest.mark.parametrize(("event", "state", "error_type", "message"), ENDS)
def test_a_bad_end_is_told_with_its_cause(
    store: JobStore, event: Callable[[int], Event], state: str, error_type: str, message: str
) -> None:
    pool = FakePool()
    pool.clients[0].answers = [ending_with(event)]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request())
        ended = until(jobs, job.id)
        assert ended.error is not None
        assert (ended.state, ended.error.error_type) == (state, error_type)
        assert message in ended.error.message
        assert jobs.retry(job.id).state is JobState.QUEUED
        assert until(jobs, job.id).state is JobState.SUCCEEDED
        with pytest.raises(IllegalTransition):
            jobs.retry(job.id)


DIES = ending_with(lambda n: events.Died(n, "signal", "killed by signal 9", 7))


def test_a_job_whose_worker_died_is_tried_once_more_with_the_same_seed(store: JobStore) -> None:
    pool = FakePool()
    pool.clients[0].answers = [DIES]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request())
        ended = until(jobs, job.id)
    assert (ended.state, ended.attempts, ended.deaths) == ("succeeded", 2, 1)
    seeds = [run.drawn_seed for run in pool.clients[0].commands if isinstance(run, Run)]
    assert seeds == [job.request.drawn_seed] * 2


def test_a_job_that_kills_two_workers_is_given_no_third(store: JobStore) -> None:
    pool = FakePool()
    pool.clients[0].answers = [DIES, DIES]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request())
        ended = until(jobs, job.id)
        assert ended.error is not None
        assert (ended.state, ended.error.error_type) == ("failed", "poison_job")
        assert "killed by signal 9" in ended.error.message
        assert (ended.attempts, ended.deaths) == (2, 2)
        other, _ = jobs.submit(request())
        assert until(jobs, other.id).state is JobState.SUCCEEDED


def test_results_arrive_in_the_storage_before_a_job_has_succeeded(
    store: JobStore, tmp_path: Path
) -> None:
    pool = FakePool()
    pool.clients[0].answers = [writes(tmp_path / "run")]
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request(storage=str(tmp_path / "storage")))
        ended = until(jobs, job.id)
    assert ended.state is JobState.SUCCEEDED
    (artifact,) = ended.artifacts
    assert artifact.key == f"jobs/{job.id}/image_0.png"
    assert (tmp_path / "storage" / artifact.key).read_bytes() == b"picture"


def test_a_retry_uploads_what_was_drawn_without_drawing_it_again(
    store: JobStore, tmp_path: Path
) -> None:
    pool = FakePool()
    pool.clients[0].answers = [writes(tmp_path / "run")]
    (tmp_path / "storage").write_text("a file where the folder should be")
    with queue(store, pool) as jobs:
        job, _ = jobs.submit(request(storage=str(tmp_path / "storage" / "below")))
        ended = until(jobs, job.id)
        assert ended.error is not None
        assert (ended.state, ended.error.error_type) == ("failed", "upload_failed")
        assert ended.error.is_retryable
        assert (tmp_path / "run" / "a.png").read_bytes() == b"picture"
        (tmp_path / "storage").unlink()
        jobs.retry(job.id)
        assert until(jobs, job.id).state is JobState.SUCCEEDED
    assert sum(isinstance(c, Run) for c in pool.clients[0].commands) == 1


def test_a_full_queue_and_one_that_ends_take_no_jobs(store: JobStore) -> None:
    pool = FakePool()
    with queue(store, pool, most_queued=2) as jobs, jobs._changed:
        jobs.submit(request())
        jobs.submit(request())
        with pytest.raises(QueueFull, match="2 jobs wait"):
            jobs.submit(request())
    with pytest.raises(Draining):
        jobs.submit(request())


def test_what_runs_when_the_server_ends_is_queued_again(store: JobStore) -> None:
    pool = FakePool()
    pool.clients[0].answers = [hang]
    jobs = JobQueue(store, pool, Settings())
    running, _ = jobs.submit(request())
    until(jobs, running.id, [JobState.RUNNING])
    waiting, _ = jobs.submit(request())
    jobs.close(grace_s=0.0)
    assert [store.get(job.id).state for job in (running, waiting)] == ["queued", "queued"]
    with queue(store, FakePool()) as again:
        for job in (running, waiting):
            assert until(again, job.id).state is JobState.SUCCEEDED


def left_by_a_dead_server(store: JobStore, *, attempts: int = 1, folder: Path | None = None) -> Job:
    job, _ = store.create(request())
    for number in range(attempts):
        if number:
            store.move(job.id, JobState.QUEUED)
        assert store.claim(job.request.group, "cpu0")
    return store.move(job.id, JobState.RUNNING, folder=str(folder) if folder else None)


def test_after_a_crash_the_record_of_a_run_is_believed(store: JobStore, tmp_path: Path) -> None:
    job = left_by_a_dead_server(store, folder=tmp_path)
    made = {"path": "a.png", "content_type": "image/png", "nbytes": 7, "sha256": "ab" * 32}
    run_record.write(tmp_path, {"state": "finished", "outputs": [made]})
    pool = FakePool()
    with queue(store, pool) as jobs:
        ended = until(jobs, job.id)
    assert ended.state is JobState.SUCCEEDED
    assert ended.artifacts == (Artifact(str(tmp_path / "a.png"), "image/png", 7, "ab" * 32),)
    assert not pool.clients[0].commands, "it is not drawn again"


def test_after_a_crash_what_has_no_record_is_run_again(store: JobStore, tmp_path: Path) -> None:
    job = left_by_a_dead_server(store, folder=tmp_path)
    (tmp_path / "run.json").write_text('{"state": "finished"}')
    with queue(store, FakePool()) as jobs:
        ended = until(jobs, job.id)
    assert (ended.state, ended.attempts, ended.deaths) == ("succeeded", 2, 0)


def test_a_job_that_was_active_at_three_crashes_is_not_run_again(store: JobStore) -> None:
    job = left_by_a_dead_server(store, attempts=3)
    pool = FakePool()
    with queue(store, pool) as jobs:
        ended = until(jobs, job.id)
    assert ended.error is not None
    assert (ended.state, ended.error.error_type) == ("failed", "poison_job")
    assert not pool.clients[0].commands


def test_two_workers_share_the_work(store: JobStore) -> None:
    pool = FakePool(2)
    with queue(store, pool, max_wait_s=MAX_WAIT_S) as jobs:
        submitted = [jobs.submit(request(name))[0].id for name in "ab" * 20]
        ended = [until(jobs, job_id) for job_id in submitted]
    assert {job.state for job in ended} == {"succeeded"}
    assert {job.attempts for job in ended} == {1}
    assert {job.worker for job in ended} == {"cpu0", "cpu1"}
