"""Migrations: the format of the job store, from its first version to this one."""

from __future__ import annotations

MIGRATIONS = (
    """
    CREATE TABLE documents (digest TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
    CREATE TABLE jobs (
        number INTEGER PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        idempotency_key TEXT UNIQUE,
        digest TEXT NOT NULL,
        workflow TEXT NOT NULL,
        job_group TEXT NOT NULL,
        priority INTEGER NOT NULL,
        document TEXT NOT NULL REFERENCES documents (digest),
        request TEXT NOT NULL,
        state TEXT NOT NULL,
        created REAL NOT NULL,
        started REAL,
        ended REAL,
        attempts INTEGER NOT NULL DEFAULT 0,
        deaths INTEGER NOT NULL DEFAULT 0,
        worker TEXT,
        folder TEXT,
        error TEXT,
        artifacts TEXT NOT NULL DEFAULT '[]'
    );
    CREATE INDEX queued ON jobs (job_group, priority DESC, number) WHERE state = 'queued';
    CREATE INDEX by_state ON jobs (state, ended);
    CREATE TABLE events (
        job INTEGER NOT NULL REFERENCES jobs (number) ON DELETE CASCADE,
        number INTEGER NOT NULL,
        event TEXT NOT NULL,
        PRIMARY KEY (job, number)
    ) WITHOUT ROWID;
    """,
    "CREATE INDEX queued_by_age ON jobs (job_group, created) WHERE state = 'queued'",
)
"""Migration n leads from `user_version` n to n + 1. A released one is never changed."""
