"""A RunPod handler: from its start to its first job and its first picture, and what a job costs."""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from statistics import median

from bench.sessions import Bare
from bench.table import Row, milliseconds, seconds
from dw.jobs.catalog import Catalog
from dw.jobs.pool import LocalPool
from dw.jobs.queue import JobQueue
from dw.jobs.service import JobService
from dw.jobs.store import JobStore
from dw.runpod.handler import Handler
from dw.settings import load_settings
from tests.runpod.platform import Platform, Worker

TRIES = 5
WARM_JOBS = 30
SHAPES = str(Path("examples/shapes.json").absolute())
JOB = {"prompt": "a red circle", "num_inference_steps": 4, "seed": 7}


def _started(*words: str, module: str) -> tuple[float, float]:
    """Seconds to the first job taken, and to its picture."""
    with tempfile.TemporaryDirectory() as folder, Platform() as platform:
        platform.submit("first", JOB)
        began = time.perf_counter()
        with Worker(Path(folder), *words, platform=platform, module=module):
            platform.until(lambda: platform.takes > 0)
            taken = time.perf_counter() - began
            platform.final("first")
            return taken, time.perf_counter() - began


def starts() -> list[Row]:
    ours, bare = [], []
    for _ in range(TRIES):
        ours.append(_started("runpod", "--workflow", SHAPES, module="dw"))
        bare.append(_started(module="bench.bare_handler"))
    rows = []
    for index, what in enumerate(("job taken", "picture")):
        ratio = median(a[index] / b[index] for a, b in zip(ours, bare, strict=True))
        rows.append(
            Row(
                f"RunPod handler, start to first {what}",
                f"{seconds(median(each[index] for each in ours))} ({ratio:.2f}x)",
                f"handler by hand {seconds(median(each[index] for each in bare))}",
                "≤ 0.7x",
            )
        )
    return rows


def warm_jobs() -> list[Row]:
    settings = replace(load_settings(), rehearse=True)
    bare = Bare()
    with tempfile.TemporaryDirectory() as folder:
        store = JobStore(Path(folder) / "jobs.db")
        queue = JobQueue(store, LocalPool(settings, ["auto"]), settings)
        with closing(store), closing(queue):
            handler = Handler(JobService(queue, Catalog(Path("examples"), settings.permissions)))
            job = {"id": "warm", "input": {"workflow": "test"}}

            async def measured() -> tuple[list[float], list[float]]:
                ours, calls = [], []
                for _ in range(WARM_JOBS + 2):
                    began = time.perf_counter()
                    answer = await handler.answer(job)
                    ours.append(time.perf_counter() - began)
                    assert answer["status"] == "success", answer
                    calls.append(bare.call())
                return ours[2:], calls[2:]

            ours, calls = asyncio.run(measured())
    bare.close()
    over = median(a - b for a, b in zip(ours, calls, strict=True))
    return [
        Row(
            "RunPod handler, warm job, over the bare call",
            f"+{milliseconds(over)}",
            f"bare call {milliseconds(median(calls))}",
            "≤ +15 ms",
        )
    ]


MEASURES = (starts, warm_jobs)
