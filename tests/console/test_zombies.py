"""No program leaves a process behind, also not a dead one to a PID 1 that reaps nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")

EXAMPLES = Path(__file__).parents[2] / "examples"
PID_1 = """
import ctypes, json, psutil, signal, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1)  # PR_SET_CHILD_SUBREAPER: orphans come here, and stay
line, number, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
program = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
said = []
for said_line in program.stderr:
    said.append(said_line)
    if line and line in said_line:
        program.send_signal(number)
code = program.wait()
left = [child.status() for child in psutil.Process().children(recursive=True)]
print(json.dumps([code, left, said]))
"""


@pytest.mark.parametrize(
    ("words", "line", "number", "code"),
    [
        (["run", "shapes", "num_inference_steps=1"], "", 0, 0),
        (["--workflow-dir", str(EXAMPLES), "-c", "load shapes", "-c", "nothing"], "", 0, 2),
        (
            ["serve", "--workflows", str(EXAMPLES), "--port", "0"],
            "startup complete",
            signal.SIGTERM,
            -15,
        ),
    ],
    ids=["run", "shell", "serve"],
)
def test_nothing_is_left_to_pid_1(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    line: str,
    number: int,
    code: int,
) -> None:
    monkeypatch.setenv("DW_WORKFLOW_DIR", str(EXAMPLES))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    command = [sys.executable, "-m", "dw", *words]
    done = subprocess.run(
        [sys.executable, "-c", PID_1, line, str(int(number)), *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    ended_with, left, said = json.loads(done.stdout.splitlines()[-1])
    assert left == []
    assert ended_with == code, said
