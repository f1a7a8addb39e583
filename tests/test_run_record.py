"""The records of runs, one by one and all together."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dw import run_record

RUNNING = {"state": "running", "workflow": "demo", "seed": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run_record.write(tmp_path, RUNNING)
    return tmp_path


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fsync)


def test_a_record_is_the_only_file_that_a_write_leaves(folder: Path) -> None:
    assert os.listdir(folder) == ["run.json"]
    assert run_record.read(folder) == RUNNING


def test_a_write_that_fails_leaves_what_was_there(folder: Path, full_disk: None) -> None:
    with pytest.raises(OSError, match="No space left"):
        run_record.write(folder, {**RUNNING, "state": "finished"})
    assert os.listdir(folder) == ["run.json"]
    assert run_record.read(folder) == RUNNING


def test_half_of_a_surrogate_pair_is_kept(folder: Path) -> None:
    facts = {**RUNNING, "arguments": {"prompt": "ä \udc80"}}
    run_record.write(folder, facts)
    assert run_record.read(folder) == facts


def test_a_run_that_died_says_so_and_keeps_what_was_known(folder: Path) -> None:
    run_record.mark_ended(
        folder, "died", cause="killed by signal 9 (SIGKILL)", last_step="gen: denoise step 2/4"
    )
    facts = run_record.read(folder)
    assert facts.pop("ended") <= run_record.now()
    assert facts == {
        **RUNNING,
        "state": "died",
        "cause": "killed by signal 9 (SIGKILL)",
        "last_step": "gen: denoise step 2/4",
    }


@pytest.mark.parametrize("state", ["finished", "cancelled", "failed", "died"])
def test_a_run_that_has_ended_stays_as_it_ended(folder: Path, state: str) -> None:
    run_record.write(folder, ended := {**RUNNING, "state": state})
    run_record.mark_ended(folder, "died", cause="too late", last_step=None)
    assert run_record.read(folder) == ended


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "odd"}', '{"state": "fin'])
def test_what_is_no_record_is_not_touched(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"not a run record|Expecting|Unterminated"):
        run_record.mark_ended(tmp_path, "died", cause="killed", last_step=None)
    assert (tmp_path / "run.json").read_text() == text


BAD_SECONDS = ("x", None, float("nan"), float("inf"), 10**400, -1, True)
Odd = Callable[[Path], object]


def text(content: str) -> Odd:
    return lambda path: path.write_text(content)


def wrong(**facts: Any) -> Odd:
    return text(json.dumps({"state": "finished", **facts}))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(run_record.LARGEST + 1)


ODD = [
    *[
        pytest.param(text(each), id=repr(each))
        for each in ("", "{", "[]", "null", "7", "{}", "NaN")
    ],
    pytest.param(text("[" * 100_000), id="deep"),
    pytest.param(text('{"state": "finished", "seed": ' + "9" * 5000 + "}"), id="digits"),
    pytest.param(lambda path: path.write_bytes(b"\x80\x00\xff"), id="binary"),
    pytest.param(lambda path: path.write_bytes("{}".encode("utf-16")), id="utf-16"),
    pytest.param(huge, id="huge"),
    pytest.param(Path.mkdir, id="folder"),
    pytest.param(os.mkfifo, id="pipe"),
    pytest.param(lambda path: path.symlink_to("/dev/zero"), id="device"),
    pytest.param(lambda path: path.symlink_to("nowhere"), id="dangling"),
    pytest.param(lambda path: path.symlink_to("run.json"), id="loop"),
    *[
        pytest.param(wrong(**{name: value}), id=f"{name}={value!r}"[:40])
        for name, values in {
            "state": ([], {}, None, "odd", 1),
            "started": (5, None, []),
            "ended": (5, {}),
            "host": (5, None),
            "pid": ("7", None, 0, -1, 2**31, 1.5, True, []),
            "path": (5, None),
            "cause": (5, [], {}),
            "last_step": (5, []),
            "resolved_arguments": ([], None, "x"),
            "timings_s": ([], None, *({"load": each} for each in BAD_SECONDS)),
            "steps": ({}, None, [1], [{}], [{"name": 5}]),
            "outputs": ({}, None, "x", [None], [{}], [{"path": None}]),
            "versions": ([], None),
        }.items()
        for value in values
    ],
]


def record(output_dir: Path, name: str, **facts: Any) -> Path:
    folder = output_dir / name
    folder.mkdir(parents=True)
    run_record.write(folder, {"state": "finished", **facts})
    return folder


class TestPast:
    def test_runs_are_numbered_as_they_were_begun(self, tmp_path: Path) -> None:
        record(tmp_path, "sdxl/0001", started="2026-01-02T10:00:00.000+00:00")
        record(tmp_path, "sd15/0002", started="2026-01-03T10:00:00.000+00:00")
        record(tmp_path, "sd15/0001", started="2026-01-01T10:00:00.000+00:00")
        (tmp_path / "sd15" / "notes").mkdir()
        runs = run_record.past(tmp_path)
        assert [(run.number, run.name) for run in runs] == [
            (1, "sd15/0001"),
            (2, "sdxl/0001"),
            (3, "sd15/0002"),
        ]

    @pytest.mark.parametrize("folder", ["none", "empty"])
    def test_where_nothing_ran_there_is_none(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / "empty").mkdir()
        assert run_record.past(tmp_path / folder) == []

    def test_the_seconds_are_those_from_its_beginning_to_its_end(self, tmp_path: Path) -> None:
        times = {"started": "2026-01-01T23:59:58.500+00:00", "ended": "2026-01-02T00:00:01+00:00"}
        record(tmp_path, "demo/0001", **times)
        record(tmp_path, "demo/0002", started=times["started"])
        record(tmp_path, "demo/0003", started="yesterday", ended=None)
        assert [run.seconds for run in run_record.past(tmp_path)] == [2.5, None, None]

    @pytest.mark.parametrize(
        ("text", "is_there"),
        [
            *[("demo/0001", True), ("FINISHED", True), ("red FÖX", True), ("1234", True)],
            *[("strength", True), ("blue", False), ("resolved", False), ("a-model", False)],
        ],
    )
    def test_a_run_is_found_by_what_is_known_of_it(
        self, tmp_path: Path, text: str, is_there: bool
    ) -> None:
        arguments = {"prompt": "a red föx", "strength": 0.5}
        record(tmp_path, "demo/0001", seed=1234, resolved_arguments=arguments, device="a-model")
        [run] = run_record.past(tmp_path)
        assert run.mentions(text) is is_there

    @pytest.mark.parametrize("odd", ODD)
    def test_an_odd_record_costs_its_own_line(self, tmp_path: Path, odd: Odd) -> None:
        record(tmp_path, "demo/0001", started="2026-01-01T00:00:00+00:00")
        (tmp_path / "demo" / "0002").mkdir()
        odd(tmp_path / "demo" / "0002" / "run.json")
        runs = {run.name: run for run in run_record.past(tmp_path)}
        assert {name: run.state for name, run in runs.items()} == {
            "demo/0001": "finished",
            "demo/0002": "unreadable",
        }
        wrong = runs["demo/0002"]
        assert wrong.facts["cause"].startswith("run.json: ")
        assert (wrong.files, wrong.seconds, wrong.started) == ([], None, None)
        assert wrong.mentions("unreadable")

    @pytest.mark.parametrize("started", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
    def test_a_time_that_is_none_here_is_none(self, tmp_path: Path, started: str) -> None:
        record(tmp_path, "demo/0001", started=started)
        [run] = run_record.past(tmp_path)
        assert (run.state, run.started) == ("finished", None)

    def test_a_time_without_its_zone_is_a_local_one(self, tmp_path: Path) -> None:
        times = {"started": "2026-01-01T00:00:00", "ended": "2026-01-02T00:00:00+00:00"}
        record(tmp_path, "demo/0001", **times)
        [run] = run_record.past(tmp_path)
        assert run.seconds is not None

    def test_a_record_that_was_deleted_meanwhile_is_no_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record(tmp_path, "demo/0001")

        def read(folder: Path) -> dict[str, Any]:
            (folder / "run.json").unlink()
            raise FileNotFoundError

        monkeypatch.setattr(run_record, "read", read)
        assert run_record.past(tmp_path) == []

    def test_a_record_that_cannot_be_read_is_a_run_too(self, tmp_path: Path) -> None:
        (record(tmp_path, "demo/0001") / "run.json").write_text("{")
        [run] = run_record.past(tmp_path)
        assert (run.state, run.files, run.seconds) == ("unreadable", [], None)
        assert "Expecting" in run.facts["cause"]


class TestRunning:
    """Whether a run that its record says is running is lost."""

    @pytest.fixture
    def state(self, tmp_path: Path) -> Any:
        def state(**facts: Any) -> str:
            here = {"state": "running", "host": platform.node(), "started": run_record.now()}
            record(tmp_path, "demo/0001", **{**here, **facts})
            return run_record.past(tmp_path)[0].state

        return state

    def test_as_long_as_its_process_lives_it_runs(self, state: Any) -> None:
        assert state(pid=os.getpid()) == "running"

    @pytest.mark.parametrize("is_reaped", [True, False])
    def test_with_its_process_it_is_lost(self, state: Any, is_reaped: bool) -> None:
        options = os.WEXITED if is_reaped else os.WEXITED | os.WNOWAIT
        pid = os.posix_spawn("/bin/true", ["true"], {})
        os.waitid(os.P_PID, pid, options)
        assert state(pid=pid) == "lost"
        if not is_reaped:
            os.waitpid(pid, 0)

    def test_a_younger_process_of_that_number_is_another(self, state: Any) -> None:
        assert state(pid=os.getpid(), started="2020-01-01T00:00:00+00:00") == "lost"

    def test_of_another_machine_nothing_is_known(self, state: Any) -> None:
        assert state(pid=1, host="elsewhere", started="2020-01-01T00:00:00+00:00") == "running"
