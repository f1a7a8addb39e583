"""Runs that die with their worker, and their records."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path

import pytest

from dw import run_record
from dw.events import Died, Event, Executing, Failed, RunCancelled, RunTimedOut, Warned
from dw.worker import bounded
from dw.worker.death_records import record_death
from tests.worker.conftest import a_run

DIED = Died(1, "signal", "killed by signal 9 (SIGKILL)", 4711, last_step="gen: denoise step 2/4")
DEATHS = [
    (DIED, "killed by signal 9 (SIGKILL)"),
    (
        RunTimedOut(1, "deadline", 300, False, "gen: decode"),
        "killed: not done after 300 s (timeout)",
    ),
    (RunTimedOut(1, "stall", 600, False), "killed: no progress in 600 s (stall)"),
]
SURVIVED = [
    RunTimedOut(1, "deadline", 300, True),
    RunCancelled(1, 2, 4),
    Failed(1, "run", "divisible by 8"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_record.write(tmp_path, {"state": "running"})
    return tmp_path


@pytest.mark.parametrize(("end", "cause"), DEATHS)
def test_a_death_is_entered_with_its_cause(folder: Path, end: Event, cause: str) -> None:
    assert record_death(folder, end) is None
    facts = run_record.read(folder)
    assert (facts["state"], facts["cause"]) == ("died", cause)
    assert facts["last_step"] == end.last_step


@pytest.mark.parametrize(("end", "cause"), DEATHS)
def test_a_death_while_the_program_ends_is_a_cancelled_run(
    folder: Path, end: Event, cause: str
) -> None:
    assert record_death(folder, end, "the terminal was closed (SIGHUP)") is None
    facts = run_record.read(folder)
    told = f"cancelled: the terminal was closed (SIGHUP); {cause}"
    assert (facts["state"], facts["cause"]) == ("cancelled", told)


@pytest.mark.parametrize("end", SURVIVED)
def test_what_a_worker_survived_it_has_entered_itself(folder: Path, end: Event) -> None:
    assert record_death(folder, end) is None
    assert run_record.read(folder) == {"state": "running"}


@pytest.mark.parametrize(
    ("text", "trouble"), [(None, "No such file or directory"), ("{}", "not a run record")]
)
def test_what_kept_it_from_being_entered_is_told(
    tmp_path: Path, text: str | None, trouble: str
) -> None:
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    path = tmp_path / "run.json"
    assert record_death(tmp_path, DIED) == f"'{path}' does not record this death: {trouble}"


def test_a_disk_that_hangs_keeps_nobody(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on, write = threading.Event(), run_record.write
    monkeypatch.setattr(bounded, "LIMIT_S", 0.05)
    monkeypatch.setattr(run_record, "write", lambda *facts: (goes_on.wait(), write(*facts)))
    assert "the disk does not respond" in str(record_death(folder, DIED))
    goes_on.set()
    while run_record.read(folder)["state"] != "died":
        time.sleep(0.001)


def test_every_way_to_die_is_entered(make_client, tmp_path):
    """By the client, as soon as it learns of it."""
    client = make_client("takes_up_runs", grace_s=0.1)

    def taken_up(name: str):
        folder = tmp_path / name
        folder.mkdir()
        run_record.write(folder, {"state": "running"})
        handle = client.submit(a_run(client, folder=str(folder), steps=10_000), timeout_s=30)
        next(event for event in handle if isinstance(event, Executing))
        return handle, folder

    def cause(handle, folder: Path) -> str:
        handle.result()
        return run_record.read(folder)["cause"]

    handle, folder = taken_up("killed")
    os.kill(client.status().pid, 9)
    assert cause(handle, folder) == "killed by signal 9 (SIGKILL)"
    handle, folder = taken_up("asked")
    client.kill()
    assert cause(handle, folder) == "killed on request"


def test_a_death_that_cannot_be_entered_is_told_before_it(make_client, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run_record.write(tmp_path, {"state": "running"})
    monkeypatch.setattr(run_record, "write", full)
    client = make_client("takes_up_runs")
    handle = client.submit(a_run(client, folder=str(tmp_path), steps=10_000))
    next(event for event in handle if isinstance(event, Executing))
    client.kill()
    *_, warned, died = handle
    assert isinstance(warned, Warned)
    assert warned.message.endswith("does not record this death: No space left on device")
    assert isinstance(died, Died)
