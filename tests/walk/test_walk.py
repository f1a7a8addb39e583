"""A warm engine is as a cold one, whatever is edited between two runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from dw.rehearsal import store
from tests.walk import kinds
from tests.walk.world import KINDS

assert kinds  # they fill KINDS


def walking(*options: str) -> subprocess.Popen[str]:
    """A walk in a process of its own, which forks engines."""
    command = [sys.executable, "-m", "tests.walk", "--cache", str(store.cache_dir()), *options]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def walked(*walks: subprocess.Popen[str]) -> tuple[list[int], str]:
    """The exit codes of walks, and what they print."""
    said = "".join(walk.communicate()[0] for walk in walks)
    return [walk.returncode for walk in walks], said


def test_there_are_more_than_a_hundred_kinds_of_edit() -> None:
    assert len(KINDS) > 100


@pytest.mark.usefixtures("stand_ins")
def test_a_switch_that_is_not_put_back_is_found_and_the_walk_shortened(tmp_path: Path) -> None:
    broken = (
        "--sabotage",
        "changes",
        "--only",
        "channels_last_of_the_unet,steps,prompt,memory",
    )
    walk = walking(*broken, "--seed", "5", "--steps", "30", "--keep", str(tmp_path))
    codes, said = walked(walk)
    assert codes == [1], said
    assert "other results" in said
    again = re.search(r"--replay '(.*)'", said)
    assert again is not None
    kinds_left = re.findall(r"(\w+):", again[1])
    assert kinds_left == ["channels_last_of_the_unet"] * 2  # on, and off again
    assert sorted(path.name for path in (tmp_path / "found").glob("step-*.json")) == [
        "step-1.json",
        "step-2.json",
    ]


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.timeout(900)  # 100 s, on a quiet core
def test_a_warm_engine_is_as_a_cold_one() -> None:
    codes, said = walked(walking("--seed", "1", "--steps", "200"))
    assert codes == [0], said


@pytest.mark.long
@pytest.mark.usefixtures("stand_ins")
@pytest.mark.timeout(4 * 3600)  # 30 minutes, on two quiet cores
def test_a_warm_engine_is_as_a_cold_one_5000_times() -> None:
    halves = [walking("--seed", seed, "--walks", "10", "--steps", "250") for seed in ("100", "200")]
    codes, said = walked(*halves)
    assert codes == [0, 0], said
