"""The records of runs, one by one and all together."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dw import run_index, run_record
from dw.run_index import RunIndex
from dw.run_record import Past


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_index, "cache_dir", lambda: tmp_path_factory.mktemp("cache"))


def past(output_dir: Path) -> list[Past]:
    with RunIndex(output_dir) as index:
        return index.search()[0]


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


def test_a_record_is_text_for_people_and_only_for_its_owner(tmp_path: Path) -> None:
    run_record.write(tmp_path, {"state": "finished", "prompt": "ein Föx", "what": Path("a")})
    file = tmp_path / "run.json"
    assert file.read_bytes().decode() == (
        '{\n  "state": "finished",\n  "prompt": "ein Föx",\n  "what": "' + repr(Path("a")) + '"\n}'
    )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_moment_is_that_of_everybody_to_the_millisecond() -> None:
    moment = run_record.now()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", moment)
    assert abs(datetime.now(UTC) - datetime.fromisoformat(moment)) < timedelta(minutes=1)


def test_half_of_a_surrogate_pair_is_kept(folder: Path) -> None:
    facts = {**RUNNING, "arguments": {"prompt": "ä \udc80"}}
    run_record.write(folder, facts)
    assert run_record.read(folder) == facts


def test_a_run_that_died_says_so_and_keeps_what_was_known(folder: Path) -> None:
    run_record.mark_ended(
        folder,
        "died",
        cause="killed by signal 9 (SIGKILL)",
        last_step="gen: denoise step 2/4",
        trace="a stack",
    )
    facts = run_record.read(folder)
    assert facts.pop("ended") <= run_record.now()
    assert facts == {
        **RUNNING,
        "state": "died",
        "cause": "killed by signal 9 (SIGKILL)",
        "last_step": "gen: denoise step 2/4",
        "trace": "a stack",
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


BAD_SECONDS = ("x", None, float("nan"), float("inf"), 10**400, 1e9, -1, True)
Odd = Callable[[Path], object]


def text(content: str) -> Odd:
    return lambda path: path.write_text(content)


def wrong(**facts: Any) -> Odd:
    return text(json.dumps({"state": "finished", **facts}))


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(run_record.LARGEST + 1)


NO_RECORD = "not a run record"
ODD = [
    pytest.param(text(""), "Expecting value.*", id="empty"),
    pytest.param(text("{"), "Expecting property name.*", id="cut"),
    *[pytest.param(text(each), NO_RECORD, id=each) for each in ("[]", "null", "7", "{}", "NaN")],
    pytest.param(text("[" * 100_000), "nested too deeply", id="deep"),
    pytest.param(text('{"seed": ' + "9" * 5000 + "}"), "Exceeds the limit.*", id="digits"),
    pytest.param(lambda path: path.write_bytes(b"\x80\x00\xff"), "'utf-8' codec.*", id="binary"),
    pytest.param(huge, "larger than 64 MB", id="huge"),
    pytest.param(Path.mkdir, "not a file", id="folder"),
    pytest.param(os.mkfifo, "not a file", id="pipe"),
    pytest.param(lambda path: path.symlink_to("/dev/zero"), "not a file", id="device"),
    pytest.param(lambda path: path.symlink_to("no"), "No such file or directory", id="dangling"),
    pytest.param(
        lambda path: path.symlink_to("run.json"), "Too many levels of symbolic links", id="loop"
    ),
    *[
        pytest.param(wrong(state=state), NO_RECORD, id=f"state={state}")
        for state in ([], {}, None, "odd", 1)
    ],
    *[
        pytest.param(
            wrong(**{name: value}),
            f"{NO_RECORD}: '{name}' has another type",
            id=f"{name}={value!r}"[:40],
        )
        for name, values in {
            "started": (5, None, []),
            "ended": (5, {}),
            "host": (5, None),
            "pid": ("7", None, 0, -1, 2**31, 1.5, True, []),
            "path": (5, None),
            "cause": (5, [], {}),
            "last_step": (5, []),
            "resolved_arguments": ([], None, "x"),
            "timings_s": ([], None, *({"load": each} for each in BAD_SECONDS)),
            "steps": ({}, None, [1], [{}], [{"name": 5}], [{"path": "a"}]),
            "outputs": ({}, None, "x", [None], [{}], [{"path": None}], [{"name": "a"}]),
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
    def test_runs_are_listed_as_they_were_begun(self, tmp_path: Path) -> None:
        record(tmp_path, "sdxl/0001", started="2026-01-02T10:00:00.000+00:00")
        record(tmp_path, "sd15/0002", started="2026-01-03T10:00:00.000+00:00")
        record(tmp_path, "sd15/0001", started="2026-01-01T10:00:00.000+00:00")
        (tmp_path / "sd15" / "notes").mkdir()
        runs = past(tmp_path)
        assert [(run.number, run.name) for run in runs] == [
            ("0001", "sd15/0001"),
            ("0001", "sdxl/0001"),
            ("0002", "sd15/0002"),
        ]

    @pytest.mark.parametrize("folder", ["none", "empty"])
    def test_where_nothing_ran_there_is_none(self, tmp_path: Path, folder: str) -> None:
        (tmp_path / "empty").mkdir()
        assert past(tmp_path / folder) == []

    def test_the_seconds_are_those_from_its_beginning_to_its_end(self, tmp_path: Path) -> None:
        times = {"started": "2026-01-01T23:59:58.500+00:00", "ended": "2026-01-02T00:00:01+00:00"}
        record(tmp_path, "demo/0001", **times)
        record(tmp_path, "demo/0002", started=times["started"])
        record(tmp_path, "demo/0003", started="yesterday", ended=None)
        runs = past(tmp_path)
        assert [run.seconds for run in runs] == [2.5, None, None]
        assert runs[0].started == datetime(2026, 1, 1, 23, 59, 58, 500_000, UTC)
        assert runs[0].started.tzinfo is UTC

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
        [run] = past(tmp_path)
        assert run.mentions(text) is is_there

    @pytest.mark.parametrize(("odd", "cause"), ODD)
    def test_an_odd_record_costs_its_own_line(self, tmp_path: Path, odd: Odd, cause: str) -> None:
        record(tmp_path, "demo/0001", started="2026-01-01T00:00:00+00:00")
        (tmp_path / "demo" / "0000").mkdir()
        odd(tmp_path / "demo" / "0000" / "run.json")
        runs = {run.name: run for run in past(tmp_path)}
        assert {name: run.state for name, run in runs.items()} == {
            "demo/0000": "unreadable",
            "demo/0001": "finished",
        }
        wrong = runs["demo/0000"]
        assert re.fullmatch(f"run.json: {cause}", wrong.facts["cause"]), wrong.facts["cause"]
        assert (wrong.files, wrong.seconds, wrong.started) == ([], None, None)
        assert wrong.mentions("unreadable")
        assert wrong.mentions(wrong.facts["cause"].upper())

    def test_a_record_may_be_as_large_and_as_long_as_the_limits_say(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(run_record, "LARGEST", 4096)
        seconds = {"plan": 0, "load": 0.0, "execute": 999_999_999.0}
        folder = record(tmp_path, "demo/0001", timings_s=seconds, pid=2**31 - 1, cause=None)
        text = (folder / "run.json").read_text()
        (folder / "run.json").write_text(text + " " * (run_record.LARGEST - len(text)))
        [run] = past(tmp_path)
        assert run.state == "finished"
        assert run_record.read(folder)["timings_s"] == seconds

    def test_folders_without_a_record_are_passed_over(self, tmp_path: Path) -> None:
        for name in ("a/0000", "demo/0000"):
            (tmp_path / name).mkdir(parents=True)
        record(tmp_path, "demo/0001")
        (tmp_path / "demo" / "9999").mkdir()
        assert [run.name for run in past(tmp_path)] == ["demo/0001"]

    def test_a_run_without_its_moment_is_before_all_others(self, tmp_path: Path) -> None:
        record(tmp_path, "demo/0001", started="2026-01-01T00:00:00+00:00")
        record(tmp_path, "demo/0002")
        record(tmp_path, "demo/0003")
        names = [run.name for run in past(tmp_path)]
        assert names == ["demo/0002", "demo/0003", "demo/0001"]

    @pytest.mark.parametrize("text", ["examples/Demo.json", "out of MEMORY", "ein FÖX"])
    def test_its_path_its_cause_and_its_arguments_are_searched(
        self, tmp_path: Path, text: str
    ) -> None:
        arguments = {"prompt": "ein Föx"}
        facts = {"path": "examples/demo.json", "cause": "out of memory"}
        record(tmp_path, "demo/0001", **facts, resolved_arguments=arguments)
        assert past(tmp_path)[0].mentions(text)

    @pytest.mark.parametrize("started", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
    def test_a_time_that_is_none_here_is_none(self, tmp_path: Path, started: str) -> None:
        record(tmp_path, "demo/0001", started=started)
        [run] = past(tmp_path)
        assert (run.state, run.started) == ("finished", None)

    def test_a_time_without_its_zone_is_a_local_one(self, tmp_path: Path) -> None:
        times = {"started": "2026-01-01T00:00:00", "ended": "2026-01-02T00:00:00+00:00"}
        record(tmp_path, "demo/0001", **times)
        [run] = past(tmp_path)
        assert run.seconds is not None

    def test_a_record_that_was_deleted_meanwhile_is_no_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        record(tmp_path, "demo/0001")

        def read(folder: Path) -> dict[str, Any]:
            (folder / "run.json").unlink()
            raise FileNotFoundError

        monkeypatch.setattr(run_record, "read", read)
        assert past(tmp_path) == []

    def test_a_record_that_cannot_be_read_is_a_run_too(self, tmp_path: Path) -> None:
        (record(tmp_path, "demo/0001") / "run.json").write_text("{")
        [run] = past(tmp_path)
        assert (run.state, run.files, run.seconds) == ("unreadable", [], None)
        assert "Expecting" in run.facts["cause"]


class TestRunning:
    """Whether a run that its record says is running is lost."""

    @pytest.fixture
    def state(self, tmp_path: Path) -> Any:
        def state(**facts: Any) -> str:
            here = {"state": "running", "host": platform.node(), "started": run_record.now()}
            record(tmp_path, "demo/0001", **{**here, **facts})
            return past(tmp_path)[0].state

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
