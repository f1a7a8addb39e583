from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from dw.types import FileState
from dw.worker.process.exit_cause import ExitStatus, cut_file

BUS = -int(signal.SIGBUS)


@pytest.fixture
def files(tmp_path: Path) -> list[FileState]:
    for name in "abc":
        (tmp_path / name).write_bytes(b"weights")
    return [FileState.of(tmp_path / name) for name in "abc"]


def test_a_cut_file_goes_before_one_that_was_only_changed(files: list[FileState]) -> None:
    assert cut_file(BUS, files) is None
    files[1].path.write_bytes(b"WEIGHTS")
    assert cut_file(BUS, files) == f"{str(files[1].path)!r} was changed"
    os.truncate(files[2].path, 3)
    assert cut_file(BUS, files) == f"{str(files[2].path)!r} was cut from 7 to 3 bytes"


@pytest.mark.parametrize("exit_code", [-int(signal.SIGSEGV), 0, 1, int(signal.SIGBUS)])
def test_another_end_has_another_cause(files: list[FileState], exit_code: int) -> None:
    os.truncate(files[0].path, 0)
    assert cut_file(exit_code, files) is None


def test_the_cause_names_the_file() -> None:
    cut = ExitStatus(1, BUS, oom_killed=False, cut_file="'a' was cut from 7 to 3 bytes")
    told = f"killed by signal {-BUS} (SIGBUS)"
    assert (cut.kind, cut.cause) == (
        "cut-file",
        f"{told}: 'a' was cut from 7 to 3 bytes while it was in use",
    )
    other = ExitStatus(1, BUS, oom_killed=False)
    assert (other.kind, other.cause) == ("signal", told)
