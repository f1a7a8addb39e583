"""Batches: a file of requests, each of which becomes a job; the answers are a file as well.

A batch is a note in a folder, and each of its jobs has a key made of the batch and the line. So a
server that starts again goes on where the one before it was killed, and nothing runs twice.
"""

from __future__ import annotations

import io
import json
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from dw.errors import DwError
from dw.jobs.job import Job
from dw.jobs.queue import Draining
from dw.server.api_error import ApiError
from dw.server.files import FileStore

MOST_LINES = 50_000
_ID = re.compile(r"batch_[0-9a-f]{24}")
_OVER = ("completed", "failed", "cancelled")

Submit = Callable[[Mapping[str, Any], str], Job]
"""Accepts the body of a line as a job, under an idempotency key. Raises ApiError and DwError."""

Ended = Callable[[str], Job]
"""Waits for the end of a job."""

Answer = Callable[[Job], dict[str, Any]]
"""The body of the answer for a job that has ended. Raises ApiError."""


class BatchLine(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    custom_id: str
    method: Literal["POST"] = "POST"
    url: str
    body: dict[str, Any]


class Batches:
    """Works through batches, each in a thread of its own. `cancel` cancels a job."""

    def __init__(
        self,
        folder: Path,
        files: FileStore,
        *,
        submit: Submit,
        ended: Ended,
        answer: Answer,
        cancel: Callable[[str], object],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._files = folder, files
        self._submit, self._ended, self._answer, self._cancel = submit, ended, answer, cancel
        self._lock = threading.Lock()
        for batch in self.under_way():
            self._start(str(batch["id"]))

    def create(
        self, file_id: str, endpoint: str, window: str, metadata: Mapping[str, str] | None
    ) -> dict[str, Any]:
        """Raises ApiError for a file that is no list of requests to `endpoint`."""
        if not (total := sum(1 for _ in self._lines(file_id, endpoint))):
            raise ApiError("invalid_value", "the file has no requests", param="input_file_id")
        batch = {
            "id": f"batch_{secrets.token_hex(12)}",
            "object": "batch",
            "endpoint": endpoint,
            "input_file_id": file_id,
            "completion_window": window,
            "metadata": dict(metadata or {}),
            "status": "in_progress",
            "created_at": int(time.time()),
            "in_progress_at": int(time.time()),
            "request_counts": {"total": total, "completed": 0, "failed": 0},
            "output_file_id": None,
            "error_file_id": None,
        }
        self._write(batch)
        self._start(str(batch["id"]))
        return batch

    def get(self, batch_id: str) -> dict[str, Any]:
        """Raises ApiError."""
        path = self._folder / f"{batch_id}.json"
        if not _ID.fullmatch(batch_id) or not path.is_file():
            raise ApiError("not_found", f"there is no batch {batch_id!r}")
        found: dict[str, Any] = json.loads(path.read_text())
        return found

    def all(self) -> list[dict[str, Any]]:
        """The newest first."""
        found = [self.get(path.stem) for path in self._folder.glob("batch_*.json")]
        return sorted(found, key=lambda batch: (-batch["created_at"], batch["id"]))

    def cancel(self, batch_id: str) -> dict[str, Any]:
        """Cancel what has not ended. Raises ApiError."""
        with self._lock:
            batch = self.get(batch_id)
            if batch["status"] == "in_progress":
                batch |= {"status": "cancelling", "cancelling_at": int(time.time())}
                self._write(batch)
        return batch

    def under_way(self) -> list[dict[str, Any]]:
        """Those that have not ended."""
        return [batch for batch in self.all() if batch["status"] not in _OVER]

    def prune(self, before: float) -> int:
        """Forget the batches that ended before a Unix time. Returns how many."""
        old = [
            batch
            for batch in self.all()
            if batch["status"] in _OVER and batch[f"{batch['status']}_at"] < before
        ]
        for batch in old:
            (self._folder / f"{batch['id']}.json").unlink(missing_ok=True)
        return len(old)

    # ------------------------------------------------------------------ the thread of a batch

    def _start(self, batch_id: str) -> None:
        threading.Thread(target=self._work, args=(batch_id,), name=batch_id, daemon=True).start()

    def _work(self, batch_id: str) -> None:
        batch = self.get(batch_id)
        lines = list(self._lines(batch["input_file_id"], batch["endpoint"]))
        jobs: list[Job | ApiError] = []
        for number, line in enumerate(lines):
            try:
                jobs.append(self._submit(line.body, f"{batch_id}/{number}"))
            except ApiError as error:
                jobs.append(error)
            except Draining:
                return  # the next server goes on
            except DwError as error:
                jobs.append(ApiError.of(error))
        good: list[dict[str, Any]] = []
        bad: list[dict[str, Any]] = []
        for number, (line, job) in enumerate(zip(lines, jobs, strict=True)):
            answer = self._line_answer(batch_id, number, line, job)
            is_good = answer["response"]["status_code"] == 200
            (good if is_good else bad).append(answer)
            self._count(batch_id, len(good), len(bad))
        self._finish(batch_id, good, bad)

    def _line_answer(
        self, batch_id: str, number: int, line: BatchLine, job: Job | ApiError
    ) -> dict[str, Any]:
        try:
            if isinstance(job, ApiError):
                raise job
            if self.get(batch_id)["status"] == "cancelling":
                self._cancel(job.id)
            body, status = self._answer(self._ended(job.id)), 200
        except (ApiError, DwError) as error:
            refused = error if isinstance(error, ApiError) else ApiError.of(error)
            body, status = refused.to_openai(), refused.type.status
        request_id = "" if isinstance(job, ApiError) else job.id
        return {
            "id": f"batch_req_{batch_id[6:]}_{number}",
            "custom_id": line.custom_id,
            "response": {"status_code": status, "request_id": request_id, "body": body},
            "error": None,
        }

    def _count(self, batch_id: str, completed: int, failed: int) -> None:
        with self._lock:
            batch = self.get(batch_id)
            batch["request_counts"] |= {"completed": completed, "failed": failed}
            self._write(batch)

    def _finish(self, batch_id: str, good: list[dict[str, Any]], bad: list[dict[str, Any]]) -> None:
        written = {}
        for name, answers in (("output_file_id", good), ("error_file_id", bad)):
            if answers:
                text = "".join(json.dumps(answer) + "\n" for answer in answers)
                file = self._files.add(
                    io.BytesIO(text.encode()), f"{batch_id}_{name[:-8]}.jsonl", "batch_output"
                )
                written[name] = file.id
        with self._lock:
            batch = self.get(batch_id)
            status = "cancelled" if batch["status"] == "cancelling" else "completed"
            self._write({**batch, **written, "status": status, f"{status}_at": int(time.time())})

    def _lines(self, file_id: str, endpoint: str) -> Iterator[BatchLine]:
        """Raises ApiError for a line that is no request to `endpoint`."""
        seen: set[str] = set()
        with self._files.path(file_id).open(encoding="utf-8", errors="replace") as file:
            for number, text in enumerate(file, start=1):
                if not text.strip():
                    continue
                try:
                    line = BatchLine.model_validate_json(text)
                except ValidationError as error:
                    first = error.errors()[0]
                    place = ".".join(map(str, first["loc"]))
                    reason = f"{place}: {first['msg']}" if place else first["msg"]
                    raise _bad_line(number, reason) from None
                if line.url != endpoint:
                    raise _bad_line(number, f"url is {line.url!r}, not {endpoint!r}")
                if line.custom_id in seen:
                    raise _bad_line(number, f"custom_id {line.custom_id!r} is there already")
                if len(seen) == MOST_LINES:
                    raise _bad_line(number, f"a batch has at most {MOST_LINES} requests")
                seen.add(line.custom_id)
                yield line

    def _write(self, batch: Mapping[str, Any]) -> None:
        path = self._folder / f"{batch['id']}.json"
        part = path.with_suffix(".part")
        part.write_text(json.dumps(batch))
        part.replace(path)


def _bad_line(number: int, reason: str) -> ApiError:
    return ApiError("invalid_value", f"line {number}: {reason}", param="input_file_id")
