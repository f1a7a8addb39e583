"""Metrics of runs, from what their workers tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from dw.jobs.job import Job
from dw.jobs.pool import Slot

LOAD_BUCKETS_S = tuple(0.08 * 2**n for n in range(14))
STEP_BUCKETS_S = tuple(0.005 * 2**n for n in range(14))


class RunMetrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self._loads = Counter(
            "dw_model_loads", "Runs that loaded models.", ["workflow"], registry=registry
        )
        self._load_s = Histogram(
            "dw_model_load_seconds",
            "Of a run that loaded models.",
            ["workflow"],
            buckets=LOAD_BUCKETS_S,
            registry=registry,
        )
        self._step_s = Histogram(
            "dw_step_seconds",
            "Of a denoising step.",
            ["workflow"],
            buckets=STEP_BUCKETS_S,
            registry=registry,
        )
        self._restarts = Counter(
            "dw_worker_restarts", "Workers that died, by cause.", ["cause"], registry=registry
        )
        self._memory = Gauge(
            "dw_device_memory_bytes",
            "Of a worker's device, after its last run.",
            ["device", "kind"],
            registry=registry,
        )
        self._loading: set[str] = set()  # workers that load for their run
        self._stepped: dict[str, tuple[Any, float]] = {}  # the last step of each worker

    def heard(self, job: Job, slot: Slot, event: Mapping[str, Any]) -> None:
        """An event of a job on a worker, whose own thread calls."""
        workflow = job.request.workflow
        match event["event"]:
            case "Loading":
                self._loading.add(slot.name)
            case "Loaded" if slot.name in self._loading:
                self._loading.discard(slot.name)
                self._loads.labels(workflow).inc()
                self._load_s.labels(workflow).observe(event["seconds"])
            case "Stepped" if event["phase"] == "denoise":
                self._step(workflow, slot.name, event)
            case "Finished":
                for kind in ("allocated", "reserved", "free", "total"):
                    self._memory.labels(slot.name, kind).set(event["memory"][kind])
            case "Died":
                self._loading.discard(slot.name)
                self._restarts.labels(event["kind"]).inc()
            case _:
                pass

    def _step(self, workflow: str, worker: str, event: Mapping[str, Any]) -> None:
        call = (event["run_id"], event["name"])
        before = self._stepped.get(worker)
        if before is not None and before[0] == call and event["done"] > 1:
            self._step_s.labels(workflow).observe(event["time"] - before[1])
        self._stepped[worker] = call, event["time"]
