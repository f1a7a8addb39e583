"""The job store: every accepted job in an SQLite file, so that none is lost when the server dies.

One process writes; others may read at the same time (WAL). A change is on disk before the method
returns. The methods may be called by any thread.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from dw.errors import DwError, UsageError
from dw.jobs.job import (
    ACTIVE,
    FINAL,
    ID,
    TRANSITIONS,
    Artifact,
    Job,
    JobError,
    JobState,
    new_id,
)
from dw.jobs.job_request import JobRequest
from dw.jobs.migrations import MIGRATIONS

PRUNED_AT_ONCE = 500
"""So that nobody waits for long for the store."""

MOST_KEPT = 1024
"""Jobs in memory: those that changed last."""

_QUEUED = JobState.QUEUED
_SELECT = "SELECT jobs.*, documents.text FROM jobs JOIN documents ON documents.digest = document"


class JobConflict(UsageError):
    """An id or an idempotency key that stands for another request already."""

    error_type = "idempotency_conflict"


class JobNotFound(UsageError):
    error_type = "job_not_found"


class IllegalTransition(DwError):
    """A state that cannot follow a job's present one."""

    error_type = "not_retryable"

    def __init__(self, job: str, before: JobState, after: JobState) -> None:
        super().__init__(f"job {job} is {before}, and cannot become {after}")
        self.before, self.after = before, after


@dataclass(frozen=True, slots=True)
class Backlog:
    """The queued jobs of one group. `oldest` is the Unix time at which the first was accepted."""

    group: str
    count: int
    oldest: float
    priority: int  # the highest


@dataclass(slots=True)
class _Changes:
    """Of a transaction: of the number of queued jobs, by group, and of jobs, by id."""

    queued: Counter[str] = field(default_factory=Counter)
    jobs: dict[str, tuple[int, Job]] = field(default_factory=dict)


class JobStore:
    """Raises sqlite3.Error where the file cannot be read or written, as on a full disk."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._clock = clock
        self._lock = threading.RLock()
        # Each statement is a transaction, unless `_transaction` is around it.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = wal")
        # Outlives the process; a power failure may take the last changes along.
        self._db.execute("PRAGMA synchronous = normal")
        self._db.execute("PRAGMA foreign_keys = on")
        path.chmod(0o600)  # prompts are private
        # Counted here: to count 50,000 rows takes longer than all else of a claim.
        self._queued: Counter[str] = Counter()
        self._backlogs: dict[str, Backlog] = {}
        self._stale: set[str] = set()  # groups whose backlog is looked up again
        self._kept: dict[str, tuple[int, Job]] = {}  # as in the file, by id: number and job
        self._migrate()
        counts = "SELECT job_group, COUNT(*) FROM jobs WHERE state = 'queued' GROUP BY job_group"
        self._count_queued(Counter(dict(self._db.execute(counts))))

    def close(self) -> None:
        with self._lock:
            self._db.close()

    # ------------------------------------------------------------------ accept

    def create(
        self, request: JobRequest, *, job_id: str | None = None, key: str | None = None
    ) -> tuple[Job, bool]:
        """The job of a request, and whether it is a new one.

        The same request under the same `job_id` or idempotency `key` is the same job. Raises
        JobConflict for another one, and UsageError for an id of another form.
        """
        if job_id is not None and not ID.fullmatch(job_id):
            raise UsageError(f"a job's id is j_ and 12 hexadecimal digits, got {job_id!r}")
        with self._transaction() as changes:
            names = {"id": job_id, "Idempotency-Key": key}
            for name, value in names.items():
                column = "id" if name == "id" else "idempotency_key"
                if value is None or (row := self._row(f"{column} = ?", value)) is None:
                    continue
                if row["digest"] != request.digest:
                    raise JobConflict(
                        f"{name} {value!r} belongs to another request, job {row['id']}",
                        hints=["a new request needs a new one"],
                    )
                return self._job(row), False
            facts = asdict(request)
            text = facts.pop("text")
            document = hashlib.sha256(text.encode()).hexdigest()
            self._db.execute("INSERT OR IGNORE INTO documents VALUES (?, ?)", (document, text))
            job = Job(job_id or new_id(), request, JobState.QUEUED, self._clock())
            number = self._db.execute(
                """INSERT INTO jobs (id, idempotency_key, digest, workflow, job_group, priority,
                document, request, state, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (
                    *(job.id, key, request.digest, request.workflow, request.group),
                    *(request.priority, document, json.dumps(facts), job.state, job.created),
                ),
            ).lastrowid
            assert number is not None
            changes.queued[request.group] += 1
            self._insert_events(number, [(1, self._state_event(job))])
            changes.jobs[job.id] = number, job
        return job, True

    # ------------------------------------------------------------------ look

    def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        with self._lock:
            return self._found(job_id)[1]

    def jobs(
        self,
        *,
        states: frozenset[JobState] = frozenset(JobState),
        workflow: str | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Job]:
        """The newest jobs first; those older than `after`, a job's id, when it is given.

        Raises JobNotFound for an unknown `after`.
        """
        marks = ", ".join("?" * len(states))
        with self._lock:
            before = self._found(after)[0] if after else None
            rows = self._db.execute(
                f"""{_SELECT} WHERE state IN ({marks}) AND (? IS NULL OR workflow = ?)
                AND (? IS NULL OR number < ?) ORDER BY number DESC LIMIT ?""",
                (*states, workflow, workflow, before, before, limit),
            ).fetchall()
        return [self._job(row) for row in rows]

    def keyed(self, prefix: str) -> list[Job]:
        """The jobs whose idempotency key begins with a text, as they were accepted."""
        with self._lock:
            rows = self._db.execute(
                f"""{_SELECT} WHERE idempotency_key > ? AND idempotency_key < ?
                ORDER BY number""",
                (prefix, f"{prefix}\U0010ffff"),
            ).fetchall()
        return [self._job(row) for row in rows]

    @property
    def queued(self) -> int:
        """How many jobs are queued."""
        return self._queued.total()

    def has_only(self, group: str) -> bool:
        """Whether jobs are queued, and all are of one group."""
        with self._lock:
            return 0 < self._queued[group] == self._queued.total()

    def backlogs(self) -> list[Backlog]:
        """What is queued, by group."""
        with self._lock:
            for group in self._stale:
                self._look_up_backlog(group)
            self._stale.clear()
            return list(self._backlogs.values())

    def _look_up_backlog(self, group: str) -> None:
        if not self._queued[group]:
            del self._queued[group]
            self._backlogs.pop(group, None)
            return
        (oldest,), (priority,) = (
            self._db.execute(
                f"SELECT {what} FROM jobs WHERE state = 'queued' AND job_group = ?", (group,)
            ).fetchone()
            for what in ("MIN(created)", "MAX(priority)")  # each is the first entry of an index
        )
        self._backlogs[group] = Backlog(group, self._queued[group], oldest, priority)

    def counts(self, workflow: str) -> Counter[JobState]:
        """How many jobs of a workflow there are in each state."""
        return self.counts_by_workflow().get(workflow, Counter())

    def counts_by_workflow(self) -> dict[str, Counter[JobState]]:
        with self._lock:
            rows = self._db.execute(
                "SELECT workflow, state, COUNT(*) FROM jobs GROUP BY workflow, state"
            ).fetchall()
        counts: dict[str, Counter[JobState]] = {}
        for workflow, state, count in rows:
            counts.setdefault(workflow, Counter())[JobState(state)] = count
        return counts

    # ------------------------------------------------------------------ change

    def claim(self, group: str, worker: str) -> Job | None:
        """The first queued job of a group, now taken by `worker`; None when there is none.

        Of the highest priority, the one that was accepted first.
        """
        with self._transaction() as changes:
            row = self._db.execute(
                """UPDATE jobs SET state = 'loading', worker = ?, started = ?,
                attempts = attempts + 1, error = NULL
                WHERE number = (SELECT number FROM jobs WHERE state = 'queued' AND job_group = ?
                ORDER BY priority DESC, number LIMIT 1) RETURNING id, started, attempts""",
                (worker, self._clock(), group),
            ).fetchone()
            if row is None:
                return None
            changes.queued[group] -= 1
            job_id, started, attempts = row
            number, job = self._found(job_id)
            job = replace(
                job,
                state=JobState.LOADING,
                worker=worker,
                started=started,
                attempts=attempts,
                error=None,
            )
            self._insert_events(number, [(self._last_event(number) + 1, self._state_event(job))])
            changes.jobs[job.id] = number, job
        return job

    def move(
        self,
        job_id: str,
        state: JobState,
        *,
        died: bool = False,
        error: JobError | None = None,
        artifacts: tuple[Artifact, ...] | None = None,
        folder: str | None = None,
        events: Sequence[tuple[int, Mapping[str, Any]]] = (),
        after: int | None = None,
        passed: Sequence[JobState] = (),
    ) -> Job:
        """Give a job its next state and what has become known of it, and keep the `events` before
        it and the event of it, whose number follows `after`, else the last one.

        `died`: its worker died with it. `folder`: where its run writes, so that its results are
        found after a crash. `passed`: states that it has passed on the way, which have
        their events too. Raises JobNotFound and IllegalTransition.
        """
        is_final = state in FINAL
        with self._transaction() as changes:
            number, before = self._found(job_id)
            for earlier, later in pairwise((before.state, *passed, state)):
                if later not in TRANSITIONS[earlier]:
                    raise IllegalTransition(job_id, earlier, later)
            job = replace(
                before,
                state=state,
                ended=self._clock() if is_final else None,
                deaths=before.deaths + died,
                error=before.error if error is None and is_final else error,
                artifacts=before.artifacts if artifacts is None else artifacts,
                folder=folder or before.folder,
            )
            self._db.execute(
                """UPDATE jobs SET state = ?, ended = ?, deaths = ?, folder = ?, error = ?,
                artifacts = ? WHERE number = ?""",
                (
                    *(state, job.ended, job.deaths, job.folder),
                    None if job.error is None else json.dumps(asdict(job.error)),
                    json.dumps([asdict(each) for each in job.artifacts]),
                    number,
                ),
            )
            changes.queued[job.request.group] += (state is _QUEUED) - (before.state is _QUEUED)
            last = self._last_event(number) if after is None else after
            told = [self._state_event(replace(before, state=each)) for each in passed]
            told.append(self._state_event(job))
            self._insert_events(number, [*events, *enumerate(told, last + 1)])
            changes.jobs[job.id] = number, job
        return job

    def active(self) -> list[Job]:
        """Jobs that a worker has, or had when the server before this one died."""
        return self.jobs(states=ACTIVE, limit=-1)

    def prune(
        self, *, max_age_s: float, most: int, spared_s: float = 0.0, spared: Collection[str] = ()
    ) -> list[tuple[Job, list[str]]]:
        """Forget jobs that ended more than `max_age_s` ago, and the oldest beyond `most` ended ones
        that did so more than `spared_s` ago; PRUNED_AT_ONCE at most. Returns them with the folders
        of their runs; what is in these is the caller's to remove.

        `spared` are beginnings of idempotency keys, up to a slash.
        """
        final = ", ".join(f"'{state}'" for state in sorted(FINAL))
        marks = ", ".join("?" * len(spared))
        now = self._clock()
        with self._transaction():
            rows = self._db.execute(
                f"""{_SELECT} WHERE state IN ({final}) AND (ended < ? OR (ended < ? AND number NOT
                IN (SELECT number FROM jobs WHERE state IN ({final}) ORDER BY ended DESC LIMIT ?)))
                AND (idempotency_key IS NULL
                OR substr(idempotency_key, 1, instr(idempotency_key, '/') - 1) NOT IN ({marks}))
                LIMIT {PRUNED_AT_ONCE}""",
                (now - max_age_s, now - spared_s, most, *spared),
            ).fetchall()
            pruned = [(self._job(row), self._folders(row["number"])) for row in rows]
            self._db.executemany(
                "DELETE FROM jobs WHERE number = ?", [(row["number"],) for row in rows]
            )
            self._db.execute(
                "DELETE FROM documents WHERE digest NOT IN (SELECT document FROM jobs)"
            )
            for job, _ in pruned:
                self._kept.pop(job.id, None)
        return pruned

    def _folders(self, job: int) -> list[str]:
        """The folder of each run of a job."""
        rows = self._db.execute(
            """SELECT json_extract(event, '$.output_dir') FROM events
            WHERE job = ? AND json_extract(event, '$.event') = 'Started'""",
            (job,),
        ).fetchall()
        return [folder for (folder,) in rows]

    def names(self, text: str) -> bool:
        """Whether a job that has not ended has a text in its request."""
        marks = ", ".join("?" * len(FINAL))
        with self._lock:
            row = self._db.execute(
                f"""SELECT EXISTS (SELECT 1 FROM jobs
                WHERE state NOT IN ({marks}) AND instr(request, ?))""",
                (*FINAL, text),
            ).fetchone()
        return bool(row[0])

    # ------------------------------------------------------------------ events

    def add_events(self, job_id: str, events: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Keep events of a job, by their numbers. Raises JobNotFound."""
        with self._transaction():
            self._insert_events(self._number(job_id), events)

    def last_event(self, job_id: str) -> int:
        """The number of a job's last event; 0 before the first. Raises JobNotFound."""
        with self._lock:
            return self._last_event(self._number(job_id))

    def events(self, job_id: str, after: int = 0) -> list[tuple[int, dict[str, Any]]]:
        """The events of a job with a number above `after`, in order."""
        with self._lock:
            rows = self._db.execute(
                "SELECT number, event FROM events WHERE job = ? AND number > ? ORDER BY number",
                (self._number(job_id), after),
            ).fetchall()
        return [(row["number"], json.loads(row["event"])) for row in rows]

    # ------------------------------------------------------------------ the file

    def _migrate(self) -> None:
        with self._transaction():
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise DwError(
                    f"the job store has format {version}, this dw knows up to {len(MIGRATIONS)}",
                    hints=["a newer dw wrote it: update dw, or name another state folder"],
                )
            for migration in MIGRATIONS[version:]:
                # `executescript` would end the transaction.
                for statement in migration.split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")

    @contextmanager
    def _transaction(self) -> Iterator[_Changes]:
        """Gives a place for what is kept in memory once the changes are in the file."""
        changes = _Changes()
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield changes
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have ended it
                    self._db.execute("ROLLBACK")
                raise
            self._count_queued(changes.queued)
            for job_id, kept in changes.jobs.items():
                self._kept.pop(job_id, None)  # it becomes the newest
                self._kept[job_id] = kept
            while len(self._kept) > MOST_KEPT:
                del self._kept[next(iter(self._kept))]

    def _count_queued(self, changes: Counter[str]) -> None:
        self._queued.update(changes)
        self._stale.update(changes)

    def _state_event(self, job: Job) -> dict[str, Any]:
        event = {"event": "JobState", "time": self._clock(), "state": job.state}
        return event if job.error is None else {**event, "error": asdict(job.error)}

    def _insert_events(self, job: int, events: Iterable[tuple[int, Mapping[str, Any]]]) -> None:
        self._db.executemany(
            "INSERT INTO events VALUES (?, ?, ?)",
            [(job, number, json.dumps(event)) for number, event in events],
        )

    def _last_event(self, job: int) -> int:
        row = self._db.execute("SELECT MAX(number) FROM events WHERE job = ?", (job,)).fetchone()
        return row[0] or 0

    def _number(self, job_id: str) -> int:
        return self._found(job_id)[0]

    def _found(self, job_id: str) -> tuple[int, Job]:
        """A job and its number. Raises JobNotFound.

        Several look-ups follow each change of a job, and only this process changes any: those of
        the newest changes are answered from memory.
        """
        if (kept := self._kept.get(job_id)) is not None:
            return kept
        if (row := self._row("id = ?", job_id)) is None:
            raise JobNotFound(f"there is no job {job_id!r}")
        return row["number"], self._job(row)

    def _row(self, condition: str, *values: Any) -> sqlite3.Row | None:
        found = self._db.execute(f"{_SELECT} WHERE {condition}", values).fetchone()
        assert found is None or isinstance(found, sqlite3.Row)
        return found

    @staticmethod
    def _job(row: sqlite3.Row) -> Job:
        error = json.loads(row["error"]) if row["error"] else None
        return Job(
            id=row["id"],
            request=JobRequest(**json.loads(row["request"]), text=row["text"]),
            state=JobState(row["state"]),
            created=row["created"],
            started=row["started"],
            ended=row["ended"],
            attempts=row["attempts"],
            deaths=row["deaths"],
            worker=row["worker"],
            folder=row["folder"],
            error=JobError(**error) if error else None,
            artifacts=tuple(Artifact(**each) for each in json.loads(row["artifacts"])),
        )
