"""Retention: what ended long ago is forgotten: jobs with their runs' folders and what was stored of
them, uploads, batches."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterable
from pathlib import Path

from fastapi.concurrency import run_in_threadpool

from dw import run_record
from dw.errors import DwError
from dw.jobs.job import Job
from dw.jobs.storage import Storage
from dw.server.batches import Batches
from dw.server.service import Service

EVERY_S = 60.0
"""Between two looks; a job that ended less than that ago stays, as its callers may ask for it."""

_log = logging.getLogger(__name__)


class Retention:
    """What has not ended keeps all that it needs: the jobs of a batch, uploads that they name."""

    def __init__(self, service: Service, batches: Batches) -> None:
        self._service, self._batches = service, batches
        self._every_s = min(EVERY_S, service.limits.keep_for / 2)

    async def keep_to_limits(self) -> None:
        """Prune again and again. Never returns."""
        while True:
            try:
                await run_in_threadpool(self.prune)
            except (OSError, sqlite3.Error):
                _log.exception("old jobs were not removed")
            await asyncio.sleep(self._every_s)

    def prune(self) -> None:
        limits = self._service.limits
        before = time.time() - limits.keep_for
        under_way = self._batches.under_way()
        jobs = 0
        while pruned := self._service.queue.store.prune(
            max_age_s=limits.keep_for,
            most=limits.keep_jobs,
            spared_s=self._every_s,
            spared=[batch["id"] for batch in under_way],
        ):
            jobs += len(pruned)
            for job, folders in pruned:
                if not job.request.is_kept:
                    remove_runs(folders)
            remove_stored(job for job, _ in pruned)
        inputs = {batch["input_file_id"] for batch in under_way}
        files = self._service.files.prune(
            before, lambda name: name in inputs or self._service.queue.store.names(name)
        )
        if batches := self._batches.prune(before):
            _log.info("removed %d old batches", batches)
        if jobs or files:
            _log.info("removed %d old jobs and %d old files", jobs, files)


def remove_stored(jobs: Iterable[Job]) -> None:
    """Remove what was copied of these jobs."""
    by_storage: dict[str, list[str]] = {}
    for job in jobs:
        if job.request.storage:
            by_storage.setdefault(job.request.storage, []).append(job.id)
    for url, job_ids in by_storage.items():
        try:
            storage = Storage(url)
        except DwError as error:  # it is another one now, or its credentials are
            _log.warning("results of %d old jobs stay in %s: %s", len(job_ids), url, error)
            continue
        for job_id in job_ids:
            storage.remove(job_id)


def remove_runs(folders: Iterable[str]) -> None:
    """Remove these folders, as far as they are of runs."""
    for folder in folders:
        if (Path(folder) / run_record.RECORD).is_file():
            shutil.rmtree(folder, ignore_errors=True)
