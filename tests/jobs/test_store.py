"""The job store: what is accepted is kept, and states follow each other as the table says."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from dw.errors import DwError, UsageError
from dw.jobs.job import FINAL, TRANSITIONS, Artifact, JobError, JobState
from dw.jobs.job_request import JobRequest
from dw.jobs.store import MIGRATIONS, IllegalTransition, JobConflict, JobNotFound, JobStore

FOX = JobRequest("shapes", "/w/shapes.json", '{"steps": []}', "a", {"prompt": "a fox"}, seed=7)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> JobStore:
    return JobStore(tmp_path / "state" / "jobs.db", clock=clock)


def test_a_job_is_kept_as_it_was_accepted(store: JobStore, tmp_path: Path) -> None:
    request = JobRequest(
        *("shapes", "/w/shapes.json", '{"prompt": "ä"}', "a", {"prompt": 'a "fox"', "n": [1.5]}),
        *(7, 1234, 60.0, 3, "s3://b", "r"),
    )
    job, is_new = store.create(request)
    store.close()
    kept = JobStore(tmp_path / "state" / "jobs.db").get(job.id)
    assert is_new
    assert kept == job
    assert (kept.request, kept.state, kept.created) == (request, "queued", 1000.0)
    assert (tmp_path / "state" / "jobs.db").stat().st_mode & 0o777 == 0o600


def test_the_same_request_under_the_same_name_is_the_same_job(store: JobStore) -> None:
    for name in ({"job_id": "j_0123456789ab"}, {"key": "once"}):
        first, _ = store.create(FOX, **name)
        # Who asks is no part of the work.
        again, is_new = store.create(replace(FOX, request_id="another", drawn_seed=9), **name)
        assert (again.id, is_new) == (first.id, False)
    assert len(store.jobs()) == 2
    assert [store.create(FOX)[1] for _ in range(2)] == [True, True], "without a name: a new one"


@pytest.mark.parametrize(
    "other",
    [
        replace(FOX, arguments={"prompt": "a hen"}),
        replace(FOX, seed=8),
        replace(FOX, text='{"steps": [1]}'),
        replace(FOX, workflow="other"),
        replace(FOX, timeout_s=5.0),
        replace(FOX, priority=1),
        replace(FOX, storage="s3://b"),
    ],
)
def test_another_request_under_the_same_name_is_refused(store: JobStore, other: JobRequest) -> None:
    first, _ = store.create(FOX, job_id="j_0123456789ab", key="once")
    with pytest.raises(JobConflict, match=f"'j_0123456789ab' belongs to .*{first.id}"):
        store.create(other, job_id="j_0123456789ab")
    with pytest.raises(JobConflict, match="Idempotency-Key 'once' belongs to another request"):
        store.create(other, key="once")
    assert len(store.jobs()) == 1


@pytest.mark.parametrize("job_id", ["", "7", "j_", "j_0123456789AB", "j_0123456789abc", "../j"])
def test_an_id_has_one_form(store: JobStore, job_id: str) -> None:
    with pytest.raises(UsageError, match="12 hexadecimal digits"):
        store.create(FOX, job_id=job_id)


@pytest.mark.parametrize("before", JobState)
@pytest.mark.parametrize("after", JobState)
def test_a_state_follows_another_only_as_the_table_says(
    store: JobStore, before: JobState, after: JobState
) -> None:
    job, _ = store.create(FOX)
    for state in _way_to(before):
        store.move(job.id, state)
    if after in TRANSITIONS[before]:
        moved = store.move(job.id, after)
        assert (moved.state, moved.ended) == (after, 1000.0 if after in FINAL else None)
    else:
        with pytest.raises(IllegalTransition, match=f"is {before}, and cannot become {after}"):
            store.move(job.id, after)
        assert store.get(job.id).state == before


def _way_to(state: JobState) -> list[JobState]:
    """The shortest way from `queued`."""
    ways: list[list[JobState]] = [[]]
    while True:
        way = ways.pop(0)
        here = way[-1] if way else JobState.QUEUED
        if here == state:
            return way
        ways += [[*way, each] for each in sorted(TRANSITIONS[here]) if each not in way]


def test_what_ended_well_stays_so() -> None:
    assert TRANSITIONS[JobState.SUCCEEDED] == frozenset()
    assert all(JobState.SUCCEEDED not in TRANSITIONS[s] for s in JobState if s != "uploading")


def test_claims_go_by_group_priority_and_age(store: JobStore, clock: Clock) -> None:
    a, late, urgent, other = (
        store.create(each)[0].id
        for each in (FOX, FOX, replace(FOX, priority=1), replace(FOX, group="b"))
    )
    clock.now = 1010.0
    claimed = [store.claim("a", "w1") for _ in range(4)]
    assert [job and job.id for job in claimed] == [urgent, a, late, None]
    first = claimed[0]
    assert first is not None
    assert (first.state, first.worker, first.started, first.attempts) == ("loading", "w1", 1010, 1)
    assert [each.group for each in store.backlogs()] == ["b"]
    assert [job.id for job in store.active()] == [urgent, late, a]
    assert store.get(other).state == "queued"


def test_backlogs_tell_number_age_and_priority(store: JobStore, clock: Clock) -> None:
    store.create(FOX)
    clock.now = 1005.0
    store.create(replace(FOX, priority=4))
    (backlog,) = store.backlogs()
    assert (backlog.group, backlog.count, backlog.oldest, backlog.priority) == ("a", 2, 1000.0, 4)


def test_no_job_is_claimed_twice(store: JobStore) -> None:
    for _ in range(60):
        store.create(FOX)
    claimed: list[str] = []

    def claim() -> None:
        while job := store.claim("a", threading.current_thread().name):
            claimed.append(job.id)

    threads = [threading.Thread(target=claim) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == 60 == len(set(claimed))


def test_what_becomes_known_of_a_job_is_kept(store: JobStore) -> None:
    job, _ = store.create(FOX)
    store.move(job.id, JobState.LOADING)
    store.move(job.id, JobState.RUNNING, folder="/runs/1")
    died = store.move(
        job.id, JobState.QUEUED, died=True, error=JobError("worker_crashed", "signal 9")
    )
    assert (died.deaths, died.error and died.error.message) == (1, "signal 9")
    again = store.claim("a", "w")
    assert again is not None
    assert (again.error, again.deaths, again.folder) == (None, 1, "/runs/1")
    picture = Artifact("/runs/1/a.png", "image/png", 12, "ab" * 32, "jobs/1/image_0.png")
    store.move(job.id, JobState.UPLOADING, artifacts=(picture,))
    ended = store.move(job.id, JobState.SUCCEEDED)
    assert (ended.artifacts, ended.error) == ((picture,), None)


def test_a_group_alone_in_the_queue_is_known(store: JobStore) -> None:
    assert not store.has_only("a")
    store.create(FOX)
    assert (store.has_only("a"), store.has_only("b")) == (True, False)
    store.create(replace(FOX, group="b"))
    assert (store.has_only("a"), store.has_only("b")) == (False, False)
    store.claim("a", "w")
    assert (store.has_only("a"), store.has_only("b")) == (False, True)


def test_a_retry_forgets_the_error(store: JobStore) -> None:
    job, _ = store.create(FOX)
    failed = store.move(job.id, JobState.FAILED, error=JobError("timed_out", "late", None, True))
    assert failed.error == JobError("timed_out", "late", None, True)
    again = store.move(job.id, JobState.QUEUED)
    assert (again.error, again.ended) == (None, None)


def test_jobs_are_listed_in_pages(store: JobStore) -> None:
    ids = [store.create(FOX)[0].id for _ in range(5)][::-1]
    store.move(ids[0], JobState.CANCELLED)
    store.create(replace(FOX, workflow="other"))
    assert [job.id for job in store.jobs(workflow="shapes")] == ids
    assert [job.id for job in store.jobs(workflow="shapes", limit=2)] == ids[:2]
    assert [job.id for job in store.jobs(after=ids[1])] == ids[2:]
    assert [job.id for job in store.jobs(states=frozenset({JobState.CANCELLED}))] == [ids[0]]
    with pytest.raises(JobNotFound, match="there is no job 'j_000000000000'"):
        store.jobs(after="j_000000000000")


def test_old_jobs_go_and_others_stay(store: JobStore, clock: Clock, tmp_path: Path) -> None:
    ended = []
    for number in range(4):
        clock.now = 1000.0 + number
        ended.append(store.create(replace(FOX, text=f"{number}"), key=f"batch_1/{number}")[0].id)
        store.add_events(ended[-1], [(2, {"event": "Started", "output_dir": "/run"})])
        store.move(ended[-1], JobState.CANCELLED)
    waiting = store.create(FOX)[0].id
    clock.now = 1011.5
    spared = store.prune(max_age_s=0.0, most=0, spared=["batch_1"])
    assert spared == [], "each is of a batch that has not ended"
    assert store.prune(max_age_s=100.0, most=0, spared_s=100.0) == []
    pruned = store.prune(max_age_s=10.0, most=10)
    assert {(job.id, *folders) for job, folders in pruned} == {(each, "/run") for each in ended[:2]}
    assert {job.id for job, _ in store.prune(max_age_s=10.0, most=1)} == {ended[2]}
    assert {job.id for job in store.jobs()} == {ended[3], waiting}
    with sqlite3.connect(tmp_path / "state" / "jobs.db") as db:
        assert db.execute("SELECT COUNT(*) FROM events").fetchone() == (3 + 1,)
        assert db.execute("SELECT COUNT(*) FROM documents").fetchone() == (2,)


def test_events_are_read_from_where_a_client_was(store: JobStore) -> None:
    job, other = store.create(FOX)[0].id, store.create(FOX)[0].id
    store.add_events(job, [(2, {"event": "a"}), (3, {"event": "b"})])
    # 4 to 6, 8 and 9 were given to events that are not kept.
    store.move(job, JobState.CANCELLED, events=[(7, {"event": "c"})], after=9)
    assert [number for number, _ in store.events(job)] == [1, 2, 3, 7, 10]
    assert [event["event"] for _, event in store.events(job, after=3)] == ["c", "JobState"]
    assert store.events(job, after=10) == []
    assert (store.last_event(job), store.last_event(other)) == (10, 1)


def test_each_state_is_an_event(store: JobStore) -> None:
    job, _ = store.create(FOX)
    store.claim("a", "w")
    store.move(job.id, JobState.FAILED, error=JobError("timed_out", "late", None, True))
    told = [event for _, event in store.events(job.id)]
    assert [event["state"] for event in told] == ["queued", "loading", "failed"]
    assert told[-1]["error"]["message"] == "late"


def test_what_fails_changes_nothing(store: JobStore) -> None:
    job, _ = store.create(FOX)
    with pytest.raises(TypeError):
        store.create(replace(FOX, arguments={"prompt": object()}))
    with pytest.raises(JobNotFound):
        store.move("j_000000000000", JobState.CANCELLED)
    assert store.jobs() == [job]
    assert store.create(FOX)[1], "no transaction was left open"


def test_states_that_were_only_passed_are_events_of_the_same_change(store: JobStore) -> None:
    job, _ = store.create(FOX)
    store.claim("a", "w")
    with pytest.raises(IllegalTransition, match="is uploading, and cannot become running"):
        store.move(job.id, JobState.RUNNING, passed=(JobState.UPLOADING,))
    begun = {"event": "Started"}
    passed = (JobState.RUNNING, JobState.UPLOADING)
    moved = store.move(job.id, JobState.SUCCEEDED, passed=passed, events=[(3, begun)], after=5)
    told = [(number, event.get("state", "")) for number, event in store.events(job.id, after=2)]
    assert told == [(3, ""), (6, "running"), (7, "uploading"), (8, "succeeded")]
    assert store.get(job.id) == moved


def test_what_is_known_in_memory_is_what_the_file_says(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dw.jobs.store.MOST_KEPT", 2)
    ids = [store.create(FOX)[0].id for _ in range(4)]
    store.claim("a", "w")
    store.move(ids[0], JobState.RUNNING, folder="/runs/1")
    picture = Artifact("/runs/1/a.png", "image/png", 7, "ab12", width=64, height=64)
    store.move(ids[0], JobState.UPLOADING, artifacts=(picture,))
    store.move(ids[2], JobState.FAILED, error=JobError("timed_out", "late", None, True))
    with pytest.raises(TypeError):
        store.move(ids[0], JobState.SUCCEEDED, events=[(9, {"event": object()})])
    other = JobStore(tmp_path / "state" / "jobs.db")
    for job_id in ids:
        assert store.get(job_id) == other.get(job_id)
    assert store.get(ids[0]).state is JobState.UPLOADING


def test_a_store_of_a_newer_dw_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    JobStore(path).close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
    with pytest.raises(
        DwError, match=f"has format {len(MIGRATIONS) + 1}, this dw knows up to {len(MIGRATIONS)}"
    ):
        JobStore(path)


ACCEPTS = """
import sys
from pathlib import Path
from dw.jobs.job_request import JobRequest
from dw.jobs.store import JobStore

store = JobStore(Path(sys.argv[1]))
while True:
    job, _ = store.create(JobRequest("shapes", "/w", "{}", "a", {}))
    print(job.id, flush=True)
"""


def test_a_killed_process_has_lost_no_job_that_it_accepted(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    process = subprocess.Popen(
        [sys.executable, "-c", ACCEPTS, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    accepted = [process.stdout.readline().strip() for _ in range(50)]
    process.kill()
    accepted += process.stdout.read().split()
    process.wait()
    process.stdout.close()
    kept = {job.id for job in JobStore(path).jobs(limit=-1)}
    assert {each for each in accepted if len(each) == 14} <= kept


def test_others_read_while_the_store_is_written(store: JobStore, tmp_path: Path) -> None:
    job, _ = store.create(FOX)
    other = sqlite3.connect(tmp_path / "state" / "jobs.db", isolation_level=None, timeout=0)
    other.execute("BEGIN IMMEDIATE")  # another writer, in the midst of it
    assert store.get(job.id) == job
    other.execute("ROLLBACK")
    other.close()
