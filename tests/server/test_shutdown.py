"""A real server that is told to end while it works: `dw serve` with real worker processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from dw.jobs.store import JobStore
from tests.processes import assert_gone

WITHIN_S = 60.0
STEPS_FOR_EVER = 1_000_000
WORKFLOW = {
    "id": "demo",
    "variables": {"steps": 4},
    "steps": [
        {
            "name": "gen",
            "pipeline": {
                "configuration": {"component_type": "FluxPipeline"},
                "from_pretrained_arguments": {"model_name": "nobody/tiny"},
                "arguments": {"prompt": "", "num_inference_steps": "variable:steps"},
            },
            "result": {"content_type": "image/png"},
        }
    ],
}


class Program:
    """`dw serve` in a process of its own, with an HTTP client."""

    def __init__(self, folder: Path, *options: str) -> None:
        workflows = folder / "workflows"
        workflows.mkdir(exist_ok=True)
        (workflows / "demo.json").write_text(json.dumps(WORKFLOW))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.state = folder / "state"
        with (folder / "log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.server.program", "--port", str(self.port)),
                    *("--state", str(self.state), "--workflows", str(workflows), *options),
                ],
                env={**os.environ, "DW_OUTPUT_DIR": str(folder / "outputs")},
                stderr=log,
            )
        url = f"http://127.0.0.1:{self.port}"
        self.http = httpx.Client(base_url=url, timeout=WITHIN_S, trust_env=False)
        self.wait_for("/livez", 200)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def wait_for(self, path: str, status: int) -> None:
        give_up = time.monotonic() + WITHIN_S
        while True:
            try:
                if self.http.get(path).status_code == status:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None
            assert time.monotonic() < give_up
            time.sleep(0.02)

    def submit(self, steps: int) -> str:
        body = {"workflow": "demo", "arguments": {"steps": steps}}
        answer = self.http.post("/v1/jobs", json=body)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    def wait_until_running(self, job_id: str) -> None:
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
            next(line for line in events.iter_lines() if '"state": "running"' in line)
        self.children = psutil.Process(self.process.pid).children(recursive=True)

    def follow(self, job_id: str) -> Followed:
        return Followed(self, job_id)

    def end(self) -> int:
        code = self.process.wait(WITHIN_S)
        self.http.close()
        assert_gone(self.children)
        return code

    def states(self, *job_ids: str) -> list[str]:
        with closing(JobStore(self.state / "jobs.db")) as store:
            return [store.get(each).state.value for each in job_ids]


class Followed:
    """A client that reads the events of a job to the end of the stream."""

    def __init__(self, program: Program, job_id: str) -> None:
        self.lines: list[str] = []
        self.error: httpx.HTTPError | None = None
        self._has_begun = threading.Event()
        self._thread = threading.Thread(target=self._read, args=(program, job_id))
        self._thread.start()
        assert self._has_begun.wait(WITHIN_S)

    def _read(self, program: Program, job_id: str) -> None:
        try:
            with program.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
                for line in events.iter_lines():
                    self.lines.append(line)
                    self._has_begun.set()
        except httpx.HTTPError as error:
            self.error = error

    def text(self) -> str:
        self._thread.join(WITHIN_S)
        assert not self._thread.is_alive()
        assert self.error is None, "the stream was ended in order"
        return "\n".join(self.lines)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    print((tmp_path / "log").read_text())  # noqa: T201  # shown when the test fails


def test_what_runs_ends_what_waits_stays_and_new_work_is_refused(folder: Path) -> None:
    server = Program(folder)
    running, *waiting = (server.submit(steps) for steps in (50, 4, 4, 4))
    server.wait_until_running(running)
    streams = [server.follow(each) for each in (running, waiting[0])]
    with closing(socket.create_connection(("127.0.0.1", server.port))) as upload:
        upload.sendall(half_an_upload())
        server.process.send_signal(signal.SIGTERM)
        server.wait_for("/readyz", 503)
        refused = server.http.post("/v1/jobs", json={"workflow": "demo"})
        assert refused.status_code == 503
        assert refused.json()["error"]["error_type"] == "shutting_down"
        assert int(refused.headers["retry-after"]) > 0
        upload.sendall(OTHER_HALF)
        assert upload.recv(12) == b"HTTP/1.1 200"
    texts = [each.text() for each in streams]
    assert '"state": "succeeded"' in texts[0]
    assert server.end() == -signal.SIGTERM
    assert server.states(running, *waiting) == ["succeeded", *["queued"] * 3]
    assert len(list((server.state / "files").glob("file-*.json"))) == 1
    again = Program(folder)
    again.http.get(f"/v1/jobs/{waiting[-1]}/events")
    again.process.send_signal(signal.SIGTERM)
    assert again.end() == -signal.SIGTERM
    assert again.states(*waiting) == ["succeeded"] * 3


def test_after_the_grace_what_runs_is_queued_again(folder: Path) -> None:
    server = Program(folder, "--grace", "0.2")
    running = server.submit(STEPS_FOR_EVER)
    server.wait_until_running(running)
    stream = server.follow(running)
    server.process.send_signal(signal.SIGTERM)
    assert stream.text()
    assert server.end() == -signal.SIGTERM
    assert server.states(running) == ["queued"]


def test_a_second_signal_ends_the_grace(folder: Path) -> None:
    server = Program(folder, "--grace", "600")
    running = server.submit(STEPS_FOR_EVER)
    server.wait_until_running(running)
    answers: list[Any] = []
    body = {"workflow": "demo", "arguments": {"steps": STEPS_FOR_EVER}}
    caller = threading.Thread(
        target=lambda: answers.append(server.http.post("/generate", json=body))
    )
    caller.start()
    while server.http.get("/health").json()["queued"] == 0:
        time.sleep(0.02)
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("/readyz", 503)
    assert server.http.get(f"/v1/jobs/{running}").json()["state"] == "running"
    server.process.send_signal(signal.SIGTERM)
    caller.join(WITHIN_S)
    assert server.end() == -signal.SIGTERM
    assert answers[0].status_code == 503, "its job cannot be waited for any more"
    assert server.states(running) == ["queued"]


def half_an_upload() -> bytes:
    body = FIRST_HALF + OTHER_HALF
    head = (
        "POST /v1/files HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"
        f"content-type: multipart/form-data; boundary=B\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + FIRST_HALF


FIRST_HALF = (
    b'--B\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    b'--B\r\ncontent-disposition: form-data; name="file"; filename="a.png"\r\n\r\nhalf'
)
OTHER_HALF = b" an image\r\n--B--\r\n"
