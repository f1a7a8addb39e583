"""A shell that is killed leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.processes import assert_gone

SHELL = """
import sys, time
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient
from dw.events import Run

if __name__ == "__main__":
    client = LocalWorkerClient(Settings(), serve=f"tests.worker.children.{sys.argv[1]}:serve")
    ticket = client.submit(Run(1, "w.json", "{}", {}, "outputs"))
    if sys.argv[2] == "idle":
        ticket.result()
    else:
        next(e for e in ticket if type(e).__name__ == sys.argv[2])
    print("ready", flush=True)
    time.sleep(60)
"""

GONE_WITHIN_S = 1.0


@pytest.mark.parametrize(
    ("child", "phase"),
    [
        ("boots_slowly", "Launching"),
        ("loads_slowly", "Loading"),
        ("holds_the_gil", "Executing"),
        ("obedient", "Stepped"),
        ("obedient", "idle"),
    ],
)
def test_when_the_shell_is_killed_its_processes_are_gone_within_a_second(tmp_path, child, phase):
    script = tmp_path / "shell.py"
    script.write_text(SHELL)
    shell = subprocess.Popen(
        [sys.executable, script, child, phase],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    with shell:
        assert shell.stdout.readline() == b"ready\n"
        descendants = psutil.Process(shell.pid).children(recursive=True)
        assert len(descendants) >= 2
        shell.send_signal(signal.SIGKILL)
    assert_gone(descendants, within_s=GONE_WITHIN_S)
