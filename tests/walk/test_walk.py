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


def walked(*options: str, timeout_s: float = 110) -> tuple[int, str]:
    """The exit code of a walk, and what it prints. In a process of its own: it forks engines."""
    command = [sys.executable, "-m", "tests.walk", "--cache", str(store.cache_dir()), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


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
    code, said = walked(*broken, "--seed", "5", "--steps", "30", "--keep", str(tmp_path))
    assert code == 1
    assert "other results" in said
    again = re.search(r"--replay '(.*)'", said)
    assert again is not None
    kinds_left = re.findall(r"(\w+):", again[1])
    assert kinds_left == ["channels_last_of_the_unet"] * 2  # on, and off again
    assert sorted(path.name for path in (tmp_path / "found").glob("step-*.json")) == [
        "step-1.json",
        "step-2.json",
    ]
