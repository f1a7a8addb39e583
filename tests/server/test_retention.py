"""What ended long ago is forgotten, on the disk as well."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dw import events, run_record
from dw.events import Event, Run
from dw.jobs.job import Artifact
from dw.jobs.storage import Storage
from dw.server.limits import Limits
from tests.jobs.test_queue import hang, request, until, writes
from tests.repl.fake import Answer, FakeClient, execute, load
from tests.server.conftest import RunningServer, Start


def records(folder: Path, state: str = "finished") -> Answer:
    """A run that leaves a folder with its record."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        folder.mkdir()
        run_record.write(folder, {"state": state})
        yield events.Started(run.run_id, "demo", 1, str(folder))
        yield from load(client, run)
        yield from execute(run)
        yield events.Finished(run.run_id, "demo", 0.1, 1, (), client.memory(), str(folder))

    return answer


def wait_until_gone(path: Path) -> None:
    give_up = time.monotonic() + 20
    while path.exists():
        assert time.monotonic() < give_up, path
        time.sleep(0.02)


def test_old_jobs_go_with_their_folders_and_what_others_need_stays(
    start: Start, tmp_path: Path
) -> None:
    server: RunningServer = start(limits=Limits(keep_for=0.5))
    server.worker.answers = [records(tmp_path / "run"), hang]
    used, unused = (
        server.service.files.add(io.BytesIO(b"x"), "a.png", "user_data").id for _ in range(2)
    )
    ended = server.submit()
    server.ended(ended)
    running = server.submit(arguments={"prompt": used})
    until(server.service.queue, running, ["running"])
    wait_until_gone(tmp_path / "run")
    wait_until_gone(tmp_path / "files" / unused)
    assert server.http.get(f"/v1/jobs/{ended}").status_code == 404
    assert server.http.get(f"/v1/files/{unused}").status_code == 404
    assert server.http.get(f"/v1/jobs/{running}").json()["state"] == "running"
    assert server.http.get(f"/v1/files/{used}").status_code == 200


def test_what_was_stored_of_an_old_job_goes_and_nothing_else(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    server: RunningServer = start(limits=Limits(keep_for=0.5), storage_url=str(store))
    other = Storage(str(store))
    kept = Artifact(str(tmp_path / "a.png"), "image/png", 1, hashlib.sha256(b"x").hexdigest())
    Path(kept.path).write_bytes(b"x")
    server.worker.answers = [writes(tmp_path / "run")]
    job_id = server.submit()
    other.keep(f"{job_id}0", [kept])  # begins with the same letters
    assert server.ended(job_id)["outputs"][0]["key"] == f"jobs/{job_id}/image_0.png"
    wait_until_gone(store / "jobs" / job_id)
    assert other.read(f"jobs/{job_id}0/image_0.png") == b"x"


def test_a_storage_that_is_gone_is_told_and_the_job_goes(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    server: RunningServer = start(limits=Limits(keep_for=0.5), storage_url=str(store))
    server.worker.answers = [writes(tmp_path / "run")]
    job_id = server.submit()
    server.ended(job_id)
    shutil.rmtree(store)
    store.write_text("no folder")
    give_up = time.monotonic() + 20
    while not any("stay in" in line for line in caplog.messages):
        assert time.monotonic() < give_up
        time.sleep(0.02)
    assert server.http.get(f"/v1/jobs/{job_id}").status_code == 404


def test_a_batch_goes_when_it_ended_long_ago(start: Start, tmp_path: Path) -> None:
    server: RunningServer = start(limits=Limits(keep_for=0.5))
    line = {"custom_id": "1", "url": "/v1/images/generations", "body": {"model": "x", "prompt": ""}}
    content = io.BytesIO(json.dumps(line).encode())
    file = server.service.files.add(content, "lines.jsonl", "batch")
    body = {
        "input_file_id": file.id,
        "endpoint": "/v1/images/generations",
        "completion_window": "24h",
    }
    batch = server.http.post("/v1/batches", json=body).json()
    wait_until_gone(tmp_path / "batches" / f"{batch['id']}.json")
    wait_until_gone(tmp_path / "files" / file.id)


@pytest.mark.parametrize("is_kept", [False, True])
def test_results_of_a_shell_are_its_own(start: Start, tmp_path: Path, is_kept: bool) -> None:
    server: RunningServer = start(limits=Limits(keep_for=0.5))
    server.worker.answers = [records(tmp_path / "run")]
    job, _ = server.service.queue.submit(replace(request(), is_kept=is_kept))
    give_up = time.monotonic() + 20
    while server.http.get(f"/v1/jobs/{job.id}").status_code == 200:
        assert time.monotonic() < give_up
        time.sleep(0.02)
    if is_kept:
        assert (tmp_path / "run" / run_record.RECORD).is_file()
    else:
        wait_until_gone(tmp_path / "run")
