"""`--server`: the programs at a terminal in front of a server's worker."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from dw import events, run
from dw.errors import EXIT_OK, UsageError, WorkerLost
from dw.events import Clear, Finished, Report, Run
from dw.jobs import remote_worker
from dw.jobs.job import JobState
from dw.jobs.remote_worker import RemoteWorkerClient
from dw.settings import Settings
from tests.jobs.test_queue import hang, until, writes
from tests.repl.fake import ending_with
from tests.repl.test_scripts import ROOT
from tests.server.conftest import RunningServer, Start


@pytest.fixture
def server(start: Start) -> RunningServer:
    return start(allows_text=True)


def program(server: RunningServer, *argv: str) -> int:
    return run.main(["demo", *argv, "--server", server.url])


@pytest.fixture(autouse=True)
def _workflows(workflows: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DW_WORKFLOW_DIR", str(workflows))


def test_a_run_is_a_job_of_the_server(
    server: RunningServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.worker.answers = [writes(tmp_path / "run")]
    assert program(server, "prompt=a hen", "seed=7", "--json") == EXIT_OK
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = [event["event"] for event in told]
    assert {"Started", "Planned", "Executing", "Finished"} <= set(names)
    (job,) = server.http.get("/v1/jobs").json()["jobs"]
    assert (job["state"], job["arguments"], job["seed"]) == ("succeeded", {"prompt": "a hen"}, 7)
    assert server.service.queue.store.get(job["id"]).request.is_kept


def test_a_run_on_a_server_imports_nothing_that_supervises_processes(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", ROOT)
    server.worker.answers = [writes(tmp_path / "run")]
    program = (
        f"import sys; from dw import run; code = run.main(['demo', '--server', {server.url!r}])\n"
        "print(*sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == EXIT_OK, done.stderr
    imported = set(done.stdout.splitlines()[-1].split())
    assert "dw.jobs.remote_worker" in imported
    others = {"dw.worker.client", "dw.worker.supervision", "multiprocessing", "concurrent.futures"}
    assert not imported & (others | {"prompt_toolkit", "torch", "numpy", "asyncio"})


def test_results_of_another_machine_are_fetched(
    server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.worker.answers = [writes(tmp_path / "run", b"picture")]
    monkeypatch.setattr(remote_worker, "_is_here", lambda _: False)
    client = RemoteWorkerClient(Settings(server=server.url, output_dir=str(tmp_path / "here")))
    stream = client.submit(a_run())
    ended = list(stream)[-1]
    assert isinstance(ended, Finished)
    (output,) = ended.outputs
    assert output.path == str(tmp_path / "here" / str(stream.job_id) / "a.png")
    assert Path(output.path).read_bytes() == b"picture"


def a_run(run_id: int = 1, **changes: Any) -> Run:
    text = {
        "id": "sent",
        "variables": {"prompt": "a cat"},
        "steps": [
            {
                "name": "gen",
                "pipeline": {
                    "configuration": {"component_type": "FluxPipeline"},
                    "from_pretrained_arguments": {"model_name": "nobody/tiny"},
                    "arguments": {"prompt": "variable:prompt"},
                },
                "result": {"content_type": "image/png"},
            }
        ],
    }
    values: dict[str, Any] = {
        "path": "/elsewhere/sent.json",
        "text": json.dumps(text),
        "arguments": {},
        "output_dir": "outputs",
    }
    return Run(run_id, **values | changes)


def test_a_run_is_cancelled_and_the_worker_goes_on(server: RunningServer, tmp_path: Path) -> None:
    server.worker.answers = [hang, writes(tmp_path / "run")]
    client = RemoteWorkerClient(Settings(server=server.url))
    stream = client.submit(a_run())
    assert stream.job_id is not None
    until(server.service.queue, stream.job_id, [JobState.RUNNING])
    assert client.status().run_id == 1
    client.cancel(1)
    assert isinstance(list(stream)[-1], events.RunCancelled)
    assert isinstance(list(client.submit(a_run(2)))[-1], Finished)


def test_leaving_cancels_what_runs(server: RunningServer) -> None:
    server.worker.answers = [hang]
    client = RemoteWorkerClient(Settings(server=server.url))
    stream = client.submit(a_run())
    assert stream.job_id is not None
    until(server.service.queue, stream.job_id, [JobState.RUNNING])
    client.close()
    assert until(server.service.queue, stream.job_id).state is JobState.CANCELLED


def test_a_job_that_waits_behind_others_is_cancelled(server: RunningServer) -> None:
    server.worker.answers = [hang]
    client = RemoteWorkerClient(Settings(server=server.url))
    first, second = client.submit(a_run(1)), client.submit(a_run(2))
    client.cancel(2)
    assert isinstance(list(second)[-1], events.RunCancelled)
    client.cancel(1)
    assert isinstance(list(first)[-1], events.RunCancelled)


def test_a_failure_is_the_workers_own(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    server.worker.answers = [ending_with(lambda n: events.Failed(n, "resources", "no memory"))]
    assert program(server) == 5
    assert "no memory" in capsys.readouterr().err
    server.worker.answers = [ending_with(lambda n: events.Died(n, "signal", "SIGSEGV", 7))]
    assert program(server) == 4
    assert "the worker died: SIGSEGV" in capsys.readouterr().err


def test_memory_is_reported_and_cleared(server: RunningServer) -> None:
    client = RemoteWorkerClient(Settings(server=server.url))
    list(client.submit(a_run()))
    assert isinstance(list(client.submit(Report(2)))[-1], events.Reported)
    assert isinstance(list(client.submit(Clear(3)))[-1], events.Cleared)
    assert client.status().state == "idle"
    client.stop()
    assert client.status().state == "none"
    assert client.where() is None


def test_texts_need_the_servers_leave(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    server = start()
    assert program(server) == 2
    assert "--allow-inline" in capsys.readouterr().err
    assert not server.worker.commands


def test_a_sent_workflow_is_not_trusted_and_stays_in_the_servers_folder(
    server: RunningServer, workflows: Path
) -> None:
    client = RemoteWorkerClient(Settings(server=server.url))
    list(client.submit(a_run(path="/etc/sent.json")))
    (sent,) = (c for c in server.worker.commands if isinstance(c, Run))
    assert sent.path == str(workflows / "sent.json")
    assert not sent.permissions.trust
    inside = workflows / "below" / "sent.json"
    list(client.submit(a_run(2, path=str(inside))))
    assert [c.path for c in server.worker.commands if isinstance(c, Run)][-1] == str(inside)


def test_bad_arguments_reach_no_worker(
    server: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    client = RemoteWorkerClient(Settings(server=server.url))
    with pytest.raises(UsageError, match="prompt must be a string, got 3"):
        client.submit(a_run(arguments={"prompt": 3}))
    assert not server.worker.commands


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "127.0.0.1:9"])
def test_nobody_there(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["demo", "--server", url]) == WorkerLost.exit_code
    assert f"no dw server answers at {url}" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["ftp://host", "http://"])
def test_a_url_that_is_none(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main(["demo", "--server", url]) == UsageError.exit_code
    assert "http://HOST:PORT" in capsys.readouterr().err


def test_the_key_comes_from_the_environment(
    start: Start,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = start(keys=frozenset({"sk-one"}), allows_text=True)
    assert program(server) == 2
    assert "DW_API_KEY" in capsys.readouterr().err
    monkeypatch.setenv("DW_API_KEY", "sk-one")
    server.worker.answers = [writes(tmp_path / "run")]
    assert program(server) == EXIT_OK


def test_a_server_that_ends_cancels_what_somebody_waits_for(server: RunningServer) -> None:
    server.worker.answers = [hang]
    client = RemoteWorkerClient(Settings(server=server.url))
    stream = client.submit(a_run())
    assert stream.job_id is not None
    until(server.service.queue, stream.job_id, [JobState.RUNNING])
    closing = threading.Thread(target=server.service.queue.close, args=(0.0,))
    closing.start()
    last = list(stream)[-1]
    closing.join()
    assert isinstance(last, events.RunCancelled)
