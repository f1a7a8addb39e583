"""dw as PID 1 of a container: a namespace of processes of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def is_possible() -> bool:
    if sys.platform != "linux":
        return False
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


pytestmark = pytest.mark.skipif(not is_possible(), reason="needs root and `unshare`")

ORPHANS = """
import os, psutil, subprocess, sys, time
from dw.console.init import become_init
become_init()
assert os.getpid() != 1
for _ in range(5):  # each leaves a process behind, which ends later
    subprocess.run(["sh", "-c", "sleep 0.1 & exit 0"])
while psutil.Process(1).children() != [psutil.Process()]:
    time.sleep(0.01)
sys.exit(7)
"""
WAITING = """
import signal, sys
from dw.console.init import become_init
become_init()
def told(number, frame):
    print("told", signal.Signals(number).name, flush=True)
    sys.exit(3)
for each in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(each, told)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_orphans_are_reaped_and_the_exit_code_is_the_program_s() -> None:
    assert subprocess.run([*NAMESPACE, sys.executable, "-c", ORPHANS]).returncode == 7


def test_a_death_by_a_signal_has_the_code_that_shells_give_it() -> None:
    dies = (
        "import os\nfrom dw.console.init import become_init\nbecome_init()\nos.kill(os.getpid(), 9)"
    )
    assert subprocess.run([*NAMESPACE, sys.executable, "-c", dies]).returncode == 137


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_reach_the_program(number: signal.Signals) -> None:
    command = [*NAMESPACE, sys.executable, "-c", WAITING]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
    ) as unshare:
        assert unshare.stdout is not None
        assert unshare.stdout.readline() == "ready\n"
        (pid_1,) = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text().split()
        subprocess.run(["kill", f"-{number}", pid_1], check=True)
        assert unshare.stdout.readline() == f"told {number.name}\n"
        assert unshare.wait() == 3


def test_the_program_runs_below_pid_1() -> None:
    command = [*NAMESPACE, sys.executable, "-m", "dw", "--version"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout[:3]) == (0, "dw ")
