"""The records of runs, without a run."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from dw import history

RUNNING = {"state": "running", "workflow": "demo", "seed": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    history.write(tmp_path, RUNNING)
    return tmp_path


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def write_text(path: Path, text: str, **_: Any) -> None:
        path.write_bytes(text.encode()[:10])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", write_text)


def test_a_record_is_the_only_file_that_a_write_leaves(folder: Path) -> None:
    assert os.listdir(folder) == ["run.json"]
    assert history.read(folder) == RUNNING


def test_a_write_that_fails_leaves_what_was_there(folder: Path, full_disk: None) -> None:
    with pytest.raises(OSError, match="No space left"):
        history.write(folder, {**RUNNING, "state": "finished"})
    assert os.listdir(folder) == ["run.json"]
    assert history.read(folder) == RUNNING


def test_half_of_a_surrogate_pair_is_kept(folder: Path) -> None:
    facts = {**RUNNING, "arguments": {"prompt": "ä \udc80"}}
    history.write(folder, facts)
    assert history.read(folder) == facts


def test_a_run_that_died_says_so_and_keeps_what_was_known(folder: Path) -> None:
    history.bury(folder, cause="killed by signal 9 (SIGKILL)", last_step="gen: denoise step 2/4")
    facts = history.read(folder)
    assert facts.pop("ended") <= history.now()
    assert facts == {
        **RUNNING,
        "state": "died",
        "cause": "killed by signal 9 (SIGKILL)",
        "last_step": "gen: denoise step 2/4",
    }


@pytest.mark.parametrize("state", ["finished", "cancelled", "failed", "died"])
def test_a_run_that_has_ended_stays_as_it_ended(folder: Path, state: str) -> None:
    history.write(folder, ended := {**RUNNING, "state": state})
    history.bury(folder, cause="too late", last_step=None)
    assert history.read(folder) == ended


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"state": "odd"}', '{"state": "fin'])
def test_what_is_no_record_is_not_touched(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"no record|Expecting|Unterminated"):
        history.bury(tmp_path, cause="killed", last_step=None)
    assert (tmp_path / "run.json").read_text() == text
