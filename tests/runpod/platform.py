"""RunPod's platform as a worker sees it, in a few lines, and a worker as its process."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import psutil

ROOT = Path(__file__).parents[2]
WITHIN_S = 60.0
POLL_S = 0.3
"""How long a question of the worker is kept open."""


class Platform:
    """Gives out jobs and stops, and keeps what comes back. `messages`: those to each job, in the
    order of their arrival; `unhealthy`: what was told of failed checks."""

    def __init__(self) -> None:
        self._jobs: queue.Queue[Mapping[str, Any]] = queue.Queue()
        self._stops: queue.Queue[str] = queue.Queue()
        self._changed = threading.Condition()
        self.messages: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.chunks: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.unhealthy: list[dict[str, str]] = []
        self.takes = self.pings = 0

    def __enter__(self) -> Self:
        platform = self

        class Answering(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                url = urlsplit(self.path)
                status, answer = platform._asked(url.path, dict(parse_qsl(url.query)))
                self._answer(status, answer)

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                platform._told(urlsplit(self.path).path, json.loads(body))
                self._answer(200, {})

            def _answer(self, status: int, answer: Any) -> None:
                body = json.dumps(answer).encode() if status == 200 else b""
                with suppress(ConnectionError):  # the worker is gone
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def environment(self) -> dict[str, str]:
        return {
            "RUNPOD_WEBHOOK_GET_JOB": f"{self.url}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{self.url}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_STREAM": f"{self.url}/job-stream/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_WEBHOOK_PING": f"{self.url}/ping/$RUNPOD_POD_ID",
            "RUNPOD_AI_API_KEY": "test",
            "RUNPOD_POD_ID": "pod",
            "RUNPOD_PING_INTERVAL": "1000",
            "RUNPOD_SKIP_AUTO_SYSTEM_CHECKS": "true",
            "RUNPOD_SKIP_GPU_CHECK": "true",
        }

    def submit(self, job_id: str, given: Any) -> None:
        self._jobs.put({"id": job_id, "input": given})

    def stop(self, job_id: str) -> None:
        self._stops.put(job_id)

    def final(self, job_id: str) -> dict[str, Any]:
        """The result of a job, when it is there."""
        self.until(lambda: any(not _is_progress(m) for m in self.messages[job_id]))
        return next(m for m in self.messages[job_id] if not _is_progress(m))

    def progress(self, job_id: str) -> list[Any]:
        return [m["output"] for m in self.messages[job_id] if _is_progress(m)]

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for what a worker does."""
        with self._changed:
            assert self._changed.wait_for(condition, WITHIN_S), dict(self.messages)

    # ------------------------------------------------------------------ the worker's calls

    def _asked(self, path: str, query: Mapping[str, str]) -> tuple[int, Any]:
        match path.split("/")[1]:
            case "job-take":
                jobs = self._taken(1)
                return (200, jobs[0]) if jobs else (204, None)
            case "job-take-batch":
                jobs = self._taken(int(query["batch_size"]))
                return (200, jobs) if jobs else (204, None)
            case "job-stop":
                with suppress(queue.Empty):
                    return 200, {"jobsToStop": [self._stops.get(timeout=POLL_S)]}
            case "ping":
                with self._changed:
                    self.pings += 1
                    if query.get("status") == "unhealthy":
                        self.unhealthy.append(dict(query))
                    self._changed.notify_all()
                return 200, {}
        return 204, None

    def _taken(self, most: int) -> list[Mapping[str, Any]]:
        with self._changed:
            self.takes += 1
            self._changed.notify_all()
        jobs = []
        with suppress(queue.Empty):
            jobs.append(self._jobs.get(timeout=POLL_S))
            while len(jobs) < most:
                jobs.append(self._jobs.get_nowait())
        return jobs

    def _told(self, path: str, message: dict[str, Any]) -> None:
        _, call, _worker, job_id = path.split("/")
        with self._changed:
            (self.chunks if call == "job-stream" else self.messages)[job_id].append(message)
            self._changed.notify_all()


def _is_progress(message: Mapping[str, Any]) -> bool:
    return message.get("status") == "IN_PROGRESS"


class Worker:
    """`dw runpod` in a process of its own: `module` is the program, `words` are its arguments."""

    def __init__(
        self,
        folder: Path,
        *words: str,
        platform: Platform | None = None,
        module: str = "tests.runpod.worker",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        names = [name for name in os.environ if not name.startswith("RUNPOD_")]
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *words],
            cwd=folder,
            env={name: os.environ[name] for name in names}
            | {"PYTHONPATH": str(ROOT), "DW_OUTPUT_DIR": str(folder / "outputs")}
            | {f"XDG_{n}_HOME": str(folder) for n in ("CACHE", "CONFIG", "DATA", "STATE")}
            | (platform.environment() if platform else {})
            | dict(environment or {}),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._log.close()

    def tree(self) -> list[psutil.Process]:
        """It and everything that it has started."""
        own = psutil.Process(self.process.pid)
        return [own, *own.children(recursive=True)]

    def text(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def exit_code(self) -> int:
        try:
            return self.process.wait(WITHIN_S)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.text()) from None

    def until_logged(self, text: str) -> None:
        give_up = time.monotonic() + WITHIN_S
        while text not in self.text():
            assert time.monotonic() < give_up, self.text()
            assert self.process.poll() is None, self.text()
            time.sleep(0.02)
