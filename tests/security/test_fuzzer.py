"""Hostile workflows start no process, open no file, reach no address and import no module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def fuzz(*words: str) -> tuple[int, str]:
    """The exit code and the output of the fuzzer, in a process of its own."""
    command = [sys.executable, "-m", "tests.security.fuzz", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr[-2000:]


@pytest.mark.timeout(900)
def test_300_workflows_do_nothing_that_they_must_not() -> None:
    code, output = fuzz("--count", "300")
    assert code == 0, output
    assert "0 with findings" in output


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_20000_workflows_do_nothing_that_they_must_not() -> None:
    code, output = fuzz("--count", "20000", "--seed", "2")
    assert code == 0, output


@pytest.mark.timeout(900)
def test_each_guard_that_is_missing_is_noticed() -> None:
    """Else the fuzzer would prove nothing."""
    code, output = fuzz("--count", "1000", "--prove")
    assert code == 0, output
    assert output.count(" is found\n") == 7
    assert "nothing is found" not in output
