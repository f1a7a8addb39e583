"""The example of a worker's start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "examples" / "service" / "start_runpod.sh"
JOB = '{"input": {"prompt": "two blue squares", "user_id": "u1", "num_inference_steps": 2}}'


def started(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    names = [name for name in os.environ if not name.startswith("RUNPOD_")]
    return subprocess.run(
        ["sh", str(SCRIPT), *words],
        cwd=folder,
        env={name: os.environ[name] for name in names}
        | {"PYTHON": sys.executable, "PYTHONPATH": str(ROOT), "DW_OUTPUT_DIR": str(folder)}
        | {f"XDG_{n}_HOME": str(folder) for n in ("CACHE", "CONFIG", "DATA", "STATE")}
        | environment,
        capture_output=True,
        text=True,
    )


def test_it_says_what_it_would_do(tmp_path: Path) -> None:
    done = started(tmp_path, "check", "--test-input", JOB)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("mode: once\n")
    assert done.stdout.endswith("initialization: ok\n")


def test_it_ends_where_no_job_would_come(tmp_path: Path) -> None:
    queue = "http://127.0.0.1:1/job-take/a?gpu=none"
    done = started(tmp_path, "--rp_serve_api", RUNPOD_WEBHOOK_GET_JOB=queue)
    assert done.returncode == 2
    assert "the handler would never be called" in done.stderr


@pytest.mark.long
def test_it_draws_what_a_test_input_asks_for(tmp_path: Path) -> None:
    done = started(tmp_path, "--test-input", JOB)
    assert done.returncode == 0, done.stderr
    assert "'num_samples': 1" in done.stdout
    assert "Status: success" in done.stderr
