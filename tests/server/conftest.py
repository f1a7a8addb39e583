"""A real server on loopback in front of workers in memory."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from dw.jobs.catalog import Catalog
from dw.jobs.queue import JobQueue
from dw.jobs.store import JobStore
from dw.server.access import Keys
from dw.server.app import create_app
from dw.server.connection import connections
from dw.server.files import FileStore
from dw.server.service import Service
from dw.settings import Settings
from dw.types import Permissions
from tests.jobs.test_queue import FakePool
from tests.repl.fake import Answer, FakeClient


@dataclass(frozen=True)
class RunningServer:
    """`http` speaks to it; `pool` are its workers."""

    url: str
    service: Service
    pool: FakePool
    http: httpx.Client

    @property
    def worker(self) -> FakeClient:
        return self.pool.clients[0]

    def submit(self, **body: Any) -> str:
        """The id of an accepted job."""
        answer = self.http.post("/v1/jobs", json={"workflow": "demo"} | body)
        assert answer.status_code == 202, answer.text
        job_id = answer.json()["id"]
        assert isinstance(job_id, str)
        return job_id

    def ended(self, job_id: str) -> dict[str, Any]:
        """The job, when it has ended."""
        with self.http.stream("GET", f"/v1/jobs/{job_id}/events") as events:
            for _ in events.iter_lines():
                pass
        job: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return job


Start = Callable[..., RunningServer]


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """A folder with the workflow `demo`."""
    folder = tmp_path / "workflows"
    folder.mkdir()
    text = {
        "id": "demo",
        "variables": {"prompt": "a cat", "num_inference_steps": 4},
        "steps": [
            {
                "name": "gen",
                "pipeline": {
                    "configuration": {"component_type": "FluxPipeline"},
                    "from_pretrained_arguments": {"model_name": "nobody/tiny"},
                    "arguments": {
                        "prompt": "variable:prompt",
                        "num_inference_steps": "variable:num_inference_steps",
                    },
                },
                "result": {"content_type": "image/png"},
            }
        ],
    }
    (folder / "demo.json").write_text(json.dumps(text))
    return folder


@pytest.fixture
def start(tmp_path: Path, workflows: Path) -> Iterator[Start]:
    """Starts a server: `keys` that callers need, `workers` in memory, what the first one answers,
    and fields of Service."""
    with ExitStack() as stack:

        def started(
            *,
            keys: frozenset[str] = frozenset(),
            workers: int = 1,
            answers: Sequence[Answer] = (),
            **fields: Any,
        ) -> Any:
            store = stack.enter_context(closing(JobStore(tmp_path / "jobs.db")))
            pool = FakePool(workers)
            pool.clients[0].answers = list(answers)
            queue = JobQueue(store, pool, Settings(output_dir=str(tmp_path / "outputs")))
            stack.callback(queue.close, 0.0)
            files = FileStore(tmp_path / "files")
            catalog = Catalog(workflows, Permissions(allowed_dirs=(tmp_path / "files",)))
            service = Service(queue, catalog, Keys(keys), tmp_path, files)
            service = replace(service, **fields)
            config = uvicorn.Config(
                create_app(service),
                port=0,
                http=connections(service.limits),
                ws="none",
                log_config=None,
                timeout_graceful_shutdown=1,
            )
            server = uvicorn.Server(config)
            thread = threading.Thread(target=server.run)
            thread.start()
            stack.callback(thread.join)
            stack.callback(lambda: setattr(server, "should_exit", True))
            give_up = time.monotonic() + 20
            while not server.started:
                assert thread.is_alive()
                assert time.monotonic() < give_up
                time.sleep(0.005)
            port = server.servers[0].sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}"
            headers = {"authorization": f"Bearer {next(iter(keys))}"} if keys else {}
            client = httpx.Client(base_url=url, headers=headers, timeout=20, trust_env=False)
            stack.enter_context(client)
            return RunningServer(url, service, pool, client)

        yield started


@pytest.fixture
def server(start: Start) -> RunningServer:
    return start()
