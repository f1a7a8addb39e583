"""The worker client of the shell and `dw run` for workers behind a `dw serve`.

The models stay loaded there from one program to the next. Results that do not lie on this machine
are fetched into the output folder.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import shutil
import threading
import urllib.parse
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from dw import events
from dw.codec import from_json, to_json
from dw.errors import DwError, UsageError, WorkerLost
from dw.events import TERMINAL, Command, Event, Finished, Prepare, Prepared, Produced, Run
from dw.jobs.job import ID
from dw.settings import Settings
from dw.types import OutputFile
from dw.worker.handle import RunHandle, WorkerStatus
from dw.worker.process.stack import StackSummary

KEY = "DW_API_KEY"
"""Environment variable with the server's key."""

JOB_HEADER = "x-job-id"
ANSWER_S = 30.0
"""For answers that need no run."""


class RemoteStream(RunHandle):
    """Like the handle of a local run. `job_id`: that of a run on the server."""

    job_id: str | None = None


class RemoteWorkerClient:
    """Raises UsageError for a URL that is none, and WorkerLost when nobody answers there."""

    def __init__(self, settings: Settings) -> None:
        self._server = Server(settings.server)
        self._output_dir = Path(settings.output_dir).expanduser().absolute()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._streams: dict[int, RemoteStream] = {}
        self._server.call("GET", "/v1/workers")

    def next_id(self) -> int:
        return next(self._ids)

    def submit(self, command: Command, timeout_s: float = float("inf")) -> RemoteStream:
        stream = RemoteStream(command.run_id)
        if isinstance(command, Prepare):  # its workers import everything
            stream.put(Prepared(command.run_id))
            return stream
        if isinstance(command, Run) and command.rehearse:
            raise UsageError("a server runs real models, and rehearses nothing")
        body: dict[str, Any] = {"command": json.loads(json.dumps(to_json(command), default=str))}
        if timeout_s != float("inf"):
            body["timeout_s"] = timeout_s
        # Refusals are raised here, for the caller.
        answer = self._server.open("POST", "/v1/commands", body, timeout_s=None)
        job_id = answer.headers.get(JOB_HEADER, "")
        stream.job_id = job_id if ID.fullmatch(job_id) else None
        with self._lock:
            self._streams[command.run_id] = stream
        reader = threading.Thread(target=self._read, args=(stream, answer), daemon=True)
        reader.start()
        return stream

    def cancel(self, run_id: int, _leaving: str | None = None) -> None:
        stream = self._stream(run_id)
        stream.put(events.CancelRequested(run_id, "user", grace_s=10.0))
        self._server.call("POST", f"/v1/jobs/{stream.job_id}/cancel")

    def stop_run(self, run_id: int) -> None:
        stream = self._stream(run_id)
        stream.put(events.StopRequested(run_id))
        self._server.call("POST", f"/v1/jobs/{stream.job_id}/stop")

    def kill(self) -> None:
        """Kill the workers that run our own jobs; nobody else's."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            if stream.job_id is not None:
                self._server.call("POST", f"/v1/jobs/{stream.job_id}/kill")

    def stop(self) -> None:
        name = urllib.parse.quote(self._worker()["name"], safe="")
        self._server.call("POST", f"/v1/workers/{name}/stop")

    def status(self) -> WorkerStatus:
        worker = self._worker()
        status = WorkerStatus(**worker["status"])
        with self._lock:
            ours = (s.run_id for s in self._streams.values() if s.job_id == worker["job"])
            return replace(status, run_id=next(ours, None) if worker["job"] else None)

    def where(self) -> StackSummary | None:
        name = urllib.parse.quote(self._worker()["name"], safe="")
        summary = self._server.call("GET", f"/v1/workers/{name}/where")["summary"]
        return None if summary is None else StackSummary(**summary)

    def apply(self, settings: Settings) -> None:
        """Settings of the worker are the server's."""

    def close(self, _cause: str = "") -> None:
        """Cancel what still runs for us. The worker goes on."""
        with self._lock:
            streams = list(self._streams.values())
        for stream in streams:
            if stream.job_id is not None:
                with suppress(DwError):
                    self._server.call("POST", f"/v1/jobs/{stream.job_id}/cancel")

    # ------------------------------------------------------------------ events

    def _read(self, stream: RemoteStream, answer: http.client.HTTPResponse) -> None:
        """The thread that reads the events of one command."""
        end: Event | None = None
        try:
            for line in answer:
                told = json.loads(line)
                if told["event"] == "JobState":
                    end = end or self._end(stream, told)
                    continue
                event: Any = from_json({**told, "run_id": stream.run_id})
                # What follows the end is the way of the results into the storage.
                if isinstance(event, TERMINAL):
                    end = event
                elif isinstance(event, Produced):
                    stream.put(replace(event, output=self._named(stream, event.output)))
                else:
                    stream.put(event)
            if isinstance(end, Finished) and stream.job_id is not None:
                end = self._fetched(stream, end)
        except (OSError, ValueError, http.client.HTTPException, DwError) as error:
            end = events.Failed(stream.run_id, "worker", f"the server was lost: {error}")
        finally:
            answer.close()
            with self._lock:
                self._streams.pop(stream.run_id, None)
            lost = events.Failed(stream.run_id, "worker", "the server ended the answer early")
            stream.put(end or lost)

    @staticmethod
    def _end(stream: RemoteStream, told: dict[str, Any]) -> Event | None:
        """The end of a job that no worker has told."""
        match told["state"]:
            case "cancelled":
                return events.RunCancelled(stream.run_id, step=0, steps=0)
            case "failed" | "timed_out":
                return events.Failed(stream.run_id, "run", told["error"]["message"])
            case _:
                return None

    def _named(self, stream: RemoteStream, output: OutputFile) -> OutputFile:
        """The result under the name that it has, or will have, on this machine."""
        if _is_here(output):
            return output
        name = Path(output.path).name.replace("..", "_")  # a server may not choose the folder
        return replace(output, path=str(self._output_dir / str(stream.job_id) / name))

    def _fetched(self, stream: RemoteStream, finished: Finished) -> Finished:
        """The end of a run, its results on this machine."""
        outputs = []
        for number, output in enumerate(finished.outputs):
            here = self._named(stream, output)
            if here is not output:
                path = Path(here.path)
                path.parent.mkdir(parents=True, exist_ok=True)
                answer = self._server.open("GET", f"/v1/jobs/{stream.job_id}/outputs/{number}")
                with answer, path.open("wb") as file:
                    shutil.copyfileobj(answer, file)
            outputs.append(here)
        folder = str(Path(outputs[0].path).parent) if outputs else finished.output_dir
        return replace(finished, outputs=tuple(outputs), output_dir=folder)

    def _stream(self, run_id: int) -> RemoteStream:
        with self._lock:
            return self._streams.get(run_id) or RemoteStream(run_id)

    def _worker(self) -> dict[str, Any]:
        """The worker that has a job of ours, else the first."""
        found: list[dict[str, Any]] = self._server.call("GET", "/v1/workers")["workers"]
        with self._lock:
            ours = {stream.job_id for stream in self._streams.values()}
        return next((each for each in found if each["job"] in ours - {None}), found[0])


class Server:
    """Calls of the server's API."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"a server is named as http://HOST:PORT, got {url!r}")
        self._url = url
        self._make = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}[
            parts.scheme
        ]
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._headers = {"content-type": "application/json", "connection": "close"}
        if key := os.environ.get(KEY):
            self._headers["authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str) -> dict[str, Any]:
        """The JSON answer. Raises as `open` does."""
        with self.open(method, path) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def open(
        self, method: str, path: str, body: Any = None, timeout_s: float | None = ANSWER_S
    ) -> http.client.HTTPResponse:
        """The answer, not read yet. Raises WorkerLost when nobody answers, and the DwError that the
        server tells."""
        connection = self._make(self._host, self._port, timeout=timeout_s)
        data = None if body is None else json.dumps(body)
        try:
            connection.request(method, self._path + path, data, self._headers)
            answer: http.client.HTTPResponse = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise WorkerLost(
                f"no dw server answers at {self._url}: {getattr(error, 'strerror', None) or error}",
            ) from None
        if answer.status >= 400:
            with answer:
                raise self._refusal(answer)
        return answer

    def _refusal(self, answer: http.client.HTTPResponse) -> DwError:
        try:
            error = json.load(answer)["error"]
            message, hints = str(error["message"]), [str(hint) for hint in error["hints"]]
        except (ValueError, KeyError, TypeError):
            return WorkerLost(f"{self._url} answered {answer.status}; it is no dw server")
        if answer.status == 401:
            hints.append(f"the environment variable {KEY} names the key")
        return UsageError(message, hints=hints) if answer.status < 500 else DwError(message)


def _is_here(output: OutputFile) -> bool:
    with suppress(OSError):
        return Path(output.path).stat().st_size == output.nbytes
    return False
