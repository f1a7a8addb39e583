"""Answers: the shape of each body that is no error. Times are Unix times in seconds."""

from __future__ import annotations

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic reads no other before Python 3.12

from dw.jobs.cold_start import Stage
from dw.jobs.job import JobState
from dw.worker.handle import WorkerStatus
from dw.worker.process.stack import StackSummary

# ------------------------------------------------------------------ native


class ErrorOfJob(TypedDict):
    error_type: str
    message: str
    param: str | None
    retryable: bool


class Output(TypedDict):
    """A result. `key` is its name in the storage, where it was copied to one."""

    content_type: str
    nbytes: int
    sha256: str
    key: str | None
    url: str


class JobAnswer(TypedDict):
    id: str
    state: JobState
    workflow: str
    arguments: dict[str, Any]
    seed: int | None
    priority: int
    request_id: str
    created: float
    started: float | None
    ended: float | None
    attempts: int
    worker: str | None
    error: ErrorOfJob | None
    outputs: list[Output]


class JobPage(TypedDict):
    jobs: list[JobAnswer]


class WorkflowName(TypedDict):
    name: str


class WorkflowList(TypedDict):
    workflows: list[WorkflowName]


class ArgumentAnswer(TypedDict):
    name: str
    type: str
    default: Any


class WorkflowAnswer(TypedDict):
    name: str
    description: str | None
    arguments: list[ArgumentAnswer]


ArgumentsSchema = TypedDict(
    "ArgumentsSchema",
    {
        "$schema": str,
        "title": str,
        "description": NotRequired[str],
        "type": Literal["object"],
        "properties": dict[str, dict[str, Any]],
        "required": list[str],
        "additionalProperties": Literal[False],
    },
)
"""The JSON Schema of a workflow's arguments: its `inputs` are the `properties`."""


class SweepAnswer(TypedDict):
    """`counts`: how many jobs are in each state."""

    id: str
    workflow: str
    total: int
    counts: dict[JobState, int]
    is_over: bool
    jobs: list[JobAnswer]


class WorkerAnswer(TypedDict):
    name: str
    job: str | None
    status: WorkerStatus
    cold_start: list[Stage]


class WorkerList(TypedDict):
    workers: list[WorkerAnswer]


class Where(TypedDict):
    summary: StackSummary | None


class Stopping(TypedDict):
    stopping: bool


class Killed(TypedDict):
    killed: bool


class Alive(TypedDict):
    status: Literal["ok"]


class Unready(TypedDict):
    """`failing` are the workers that could take no job now."""

    status: Literal["unavailable"]
    reason: str
    failing: list[str]


class WorkerHealth(TypedDict):
    state: str
    pid: int | None
    rss: int | None
    restarts: int
    cold_start: list[Stage]
    is_starting: bool
    is_ready: bool


class Health(TypedDict):
    status: Literal["ok", "draining"]
    version: str
    build: str
    queued: int
    workers: dict[str, WorkerHealth]


# ------------------------------------------------------------------ OpenAI


class ModelAnswer(TypedDict):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(TypedDict):
    object: Literal["list"]
    data: list[ModelAnswer]


class ImageAnswer(TypedDict):
    b64_json: NotRequired[str]
    url: NotRequired[str]


class OfJobs(TypedDict):
    """What OpenAI's API has no place for."""

    job_ids: list[str]
    seeds: list[int | None]


class ImagesAnswer(TypedDict):
    created: int
    data: list[ImageAnswer]
    dw: OfJobs


class FileUrls(TypedDict):
    get: str


class FileAnswer(TypedDict):
    """What the clients of OpenAI and of Replicate read, each by its own names."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: Literal["file"]
    status: Literal["processed"]
    name: str
    size: int
    content_type: str
    etag: str
    checksums: dict[str, str]
    metadata: dict[str, str]
    urls: FileUrls


class FileList(TypedDict):
    object: Literal["list"]
    data: list[FileAnswer]
    results: list[FileAnswer]
    has_more: bool


class FileDeleted(TypedDict):
    id: str
    object: Literal["file"]
    deleted: Literal[True]


class RequestCounts(TypedDict):
    total: int
    completed: int
    failed: int


class BatchAnswer(TypedDict):
    id: str
    object: Literal["batch"]
    endpoint: str
    input_file_id: str
    completion_window: str
    metadata: dict[str, str]
    status: Literal["in_progress", "cancelling", "completed", "cancelled", "failed"]
    created_at: int
    in_progress_at: int
    cancelling_at: NotRequired[int]
    completed_at: NotRequired[int]
    cancelled_at: NotRequired[int]
    request_counts: RequestCounts
    output_file_id: str | None
    error_file_id: str | None


class BatchList(TypedDict):
    object: Literal["list"]
    data: list[BatchAnswer]
    has_more: bool


# ------------------------------------------------------------------ RunPod

RunPodStatus = Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]


class RunPodJob(TypedDict):
    """Times in milliseconds. `output` of a job that failed has the error, as the client keeps
    nothing else."""

    id: str
    status: RunPodStatus
    delayTime: NotRequired[int]
    executionTime: NotRequired[int]
    output: NotRequired[dict[str, Any]]
    error: NotRequired[str]


class RunPodChunk(TypedDict):
    output: dict[str, Any]


class RunPodStream(TypedDict):
    status: RunPodStatus
    stream: list[RunPodChunk]


class RunPodCancelled(TypedDict):
    id: str
    status: RunPodStatus


class RunPodPurged(TypedDict):
    removed: int
    status: Literal["completed"]


class RunPodJobCounts(TypedDict):
    completed: int
    failed: int
    inProgress: int
    inQueue: int
    retried: int


class RunPodWorkerCounts(TypedDict):
    idle: int
    running: int


class RunPodHealth(TypedDict):
    jobs: RunPodJobCounts
    workers: RunPodWorkerCounts


# ------------------------------------------------------------------ Replicate


class PredictionUrls(TypedDict):
    get: str
    cancel: str


class PredictionMetrics(TypedDict):
    predict_time: NotRequired[float]


class Prediction(TypedDict):
    """Times are texts of ISO 8601. `output` are URLs, or data: URLs."""

    id: str
    model: str
    version: str
    status: Literal["starting", "processing", "succeeded", "failed", "canceled"]
    input: dict[str, Any]
    output: list[str] | None
    error: str | None
    logs: str
    metrics: PredictionMetrics
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: PredictionUrls


class PredictionPage(TypedDict):
    previous: None
    next: str | None
    results: list[Prediction]


class Version(TypedDict):
    """`openapi_schema` holds the schema of the workflow's arguments, as cog's does."""

    id: str
    created_at: str
    cog_version: str
    openapi_schema: dict[str, Any]


class VersionPage(TypedDict):
    previous: None
    next: None
    results: list[Version]


class ReplicateModel(TypedDict):
    url: str
    owner: str
    name: str
    description: str | None
    visibility: Literal["public"]
    run_count: int
    latest_version: Version
