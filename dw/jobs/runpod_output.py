"""What RunPod's clients get of a job, from its queue handler and from the paths of a server.

They keep nothing of an answer but `output`, so an error's message is in there twice: under `error`,
which the platform takes out, and under `message`.
"""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dw.errors import DwError
from dw.jobs.job import Artifact, Job, JobError
from dw.jobs.service import JobService


class ResultTooLarge(DwError):
    """The results fit into no answer, and there is no storage that has URLs."""

    error_type = "result_too_large"


def success(
    service: JobService, job: Job, *, inline_bytes: int = 0, most_bytes: int | None = None
) -> dict[str, Any]:
    """The answer for a job that succeeded: its results as signed URLs, or as base64 where they have
    at most `inline_bytes` or the storage has no URLs.

    Raises ResultTooLarge when the base64 is longer than `most_bytes`, and ResultGone.
    """
    nbytes = sum(_base64_length(each.nbytes) for each in job.artifacts)
    urls = [None if nbytes <= inline_bytes else service.output_url(job, n) for n in _numbers(job)]
    if most_bytes is not None and nbytes > most_bytes and None in urls:
        raise ResultTooLarge(
            f"the results have {nbytes / 1e6:.1f} MB as base64, the platform takes "
            f"{most_bytes / 1e6:.0f} MB: a storage gives URLs instead"
        )
    expires = datetime.fromtimestamp(time.time() + service.url_s, UTC).isoformat(timespec="seconds")
    results = []
    for number, (artifact, url) in enumerate(zip(job.artifacts, urls, strict=True)):
        result = {"filename": Path(artifact.path).name, "type": artifact.content_type}
        if url is None:
            result["data"] = base64.b64encode(service.result(job, number)).decode()
        else:
            result |= {"url": url, "expires_at": expires}
        results.append(result)
    return {"status": "success", "output": results, "metrics": _metrics(job)}


def failure(error: JobError) -> dict[str, Any]:
    return {
        "status": "error",
        "error": error.message,
        "error_type": error.error_type,
        "message": error.message,
    }


def _metrics(job: Job) -> dict[str, Any]:
    """Times in seconds. `image_size` is there when all results have the same."""
    seconds = (job.ended or 0.0) - (job.started or 0.0)
    waited = (job.started or 0.0) - job.created
    metrics = {
        "process_time": round(seconds, 3),
        "queue_time": round(waited, 3),
        "num_samples": len(job.artifacts),
    }
    sizes = {_size(each) for each in job.artifacts}
    if len(sizes) == 1 and (size := sizes.pop()):
        return metrics | {"image_size": size}
    return metrics


def _size(artifact: Artifact) -> str | None:
    return f"{artifact.width}x{artifact.height}" if artifact.width and artifact.height else None


def _numbers(job: Job) -> range:
    return range(len(job.artifacts))


def _base64_length(nbytes: int) -> int:
    return 4 * -(-nbytes // 3)
