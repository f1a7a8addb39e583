"""Every end of a program by a signal, in every phase of a run: real processes at a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGKILL, SIGQUIT, SIGTERM, Signals

import psutil
import pytest

from dw import run_record
from dw.console.signals import CAUSES, OUTPUT_CLOSED
from tests.processes import assert_gone
from tests.repl.screen import Screen
from tests.repl.test_scripts import ROOT
from tests.worker.children.keeps_records import PHASES

ENDS = (SIGHUP, SIGQUIT, SIGTERM)
PROGRAMS = {
    "run": ("run", "FluxDev"),
    "sweep": ("run", "FluxDev", "seed:=1", "seed:=2"),
    "script": ("shell", "FluxDev", "-c", "run"),
    "shell": ("shell", "FluxDev"),
}
CELLS = [(program, phase, end) for program in PROGRAMS for phase in PHASES for end in ENDS]
# Each pair of a program and a phase with one signal, and each with all of them while it denoises.
DEFAULT = [
    cell
    for number, cell in enumerate(CELLS)
    if cell[1] == "denoising" or (number + number // len(ENDS)) % len(ENDS) == 0
]


@contextmanager
def program(name: str, phase: str) -> Iterator[tuple[Screen, list[psutil.Process]]]:
    """The program, held in a phase of its run, and the processes that it has started."""
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.console.program", "keeps_records", *PROGRAMS[name]]
    grace = "0.2" if phase == "deaf" else "30"
    environment = {"PYTHONPATH": path, "DW_STANDBY": "off", "DW_HELD": phase, "DW_GRACE": grace}
    with Screen(command, **environment) as screen:
        if name == "shell":
            screen.wait_for("dw>")
            if phase not in ("idle", "typing"):
                screen.type("run\r")
        if phase in PHASES:
            screen.wait_for_file(Path("held"))
        yield screen, psutil.Process(screen.process.pid).children(recursive=True)


def records() -> list[tuple[str, str]]:
    return [(run.state, run.facts.get("cause", "")) for run in run_record.past(Path("outputs"))]


def assert_cancelled(phase: str, cause: str) -> None:
    if phase == "booting":  # the run was not taken up yet
        assert records() == []
        return
    [(state, told)] = records()
    assert state == "cancelled"
    if phase == "deaf":
        assert told == f"cancelled: {cause}; it did not stop within 0.2 s of being asked"
    else:
        assert told == f"cancelled after step 1 of 4: {cause}"


def cells() -> list[pytest.param]:
    return [
        pytest.param(
            *cell,
            id=f"{cell[0]}-{cell[1]}-{cell[2].name}",
            marks=() if cell in DEFAULT else pytest.mark.long,
        )
        for cell in CELLS
    ]


@pytest.mark.parametrize(("name", "phase", "end"), cells())
def test_a_signal_cancels_the_run_and_ends_the_program(
    folder: Path, name: str, phase: str, end: Signals
) -> None:
    with program(name, phase) as (screen, processes):
        screen.process.send_signal(end)
        assert screen.wait() == -end
        assert_gone(processes)
        assert screen.is_as_it_was
        assert "Traceback" not in screen.text
        if phase != "booting":
            assert f"Leaving, because {CAUSES[end]}: the run stops" in screen.text
        assert "cancelled" in screen.text or phase == "deaf"
    assert_cancelled(phase, CAUSES[end])


@pytest.mark.parametrize("name", ["shell", "run", "script"])
@pytest.mark.parametrize("phase", ["loading", "denoising", "deaf"])
def test_a_terminal_that_is_closed_cancels_the_run(folder: Path, name: str, phase: str) -> None:
    with program(name, phase) as (screen, processes):
        screen.hang_up()
        assert screen.process.wait(30) == -SIGHUP
        assert_gone(processes)
    assert_cancelled(phase, CAUSES[SIGHUP])


@pytest.mark.parametrize("end", [*ENDS, "hangup", "ctrl-\\"])
@pytest.mark.parametrize("phase", ["idle", "typing"])
def test_a_signal_at_the_prompt_ends_the_shell(folder: Path, phase: str, end: object) -> None:
    with program("shell", phase) as (screen, processes):
        if phase == "typing":
            screen.type("run num")
            screen.wait_for("run num")
        if end == "hangup":
            screen.hang_up()
            assert screen.process.wait(30) == -SIGHUP
            assert_gone(processes)
            return
        if end == "ctrl-\\":
            screen.type("\x1c")
            end = SIGQUIT
        else:
            screen.process.send_signal(end)
        assert screen.wait() == -end
        assert_gone(processes)
        assert screen.is_as_it_was
        assert "Traceback" not in screen.text
        assert screen.text.endswith(CAUSES[end])


@pytest.mark.parametrize("delay_s", [0, 0.002, 0.005, 0.01, 0.02])
def test_a_signal_between_prompts_leaves_the_terminal_as_it_was(
    folder: Path, delay_s: float
) -> None:
    with program("shell", "idle") as (screen, processes):
        screen.type("\r" * 100)  # each a prompt, that sets the modes and puts them back
        time.sleep(delay_s)
        screen.process.send_signal(SIGTERM)
        assert screen.wait() == -SIGTERM
        assert_gone(processes)
        assert screen.is_as_it_was
        assert "Traceback" not in screen.text


def test_ctrl_backslash_in_a_run_is_a_signal(folder: Path) -> None:
    with program("run", "denoising") as (screen, processes):
        screen.type("\x1c")
        assert screen.wait() == -SIGQUIT
        assert_gone(processes)
    assert_cancelled("denoising", CAUSES[SIGQUIT])
    assert not list(Path().glob("core*"))


def test_a_closed_terminal_ends_the_wait_that_a_ctrl_c_has_begun(folder: Path) -> None:
    """A load may take the user's patience to stop, but nobody can be patient any more."""
    with program("shell", "deaf") as (screen, processes):
        screen.type("\x03")
        screen.wait_for("Ctrl-C again kills the worker")
        screen.hang_up()
        assert screen.process.wait(30) == -SIGHUP
        assert_gone(processes)
    assert_cancelled("deaf", CAUSES[SIGHUP])


def test_signals_that_come_together_are_one_end(folder: Path) -> None:
    """As systemd and the kernel send them: none of them insists."""
    with program("run", "denoising") as (screen, processes):
        for end in (SIGTERM, SIGHUP, SIGHUP):
            screen.process.send_signal(end)
        first = Signals(-screen.wait())
        assert_gone(processes)
    assert_cancelled("denoising", CAUSES[first])


@pytest.mark.parametrize("name", ["run", "shell"])
def test_a_shell_that_is_killed_leaves_no_process_and_history_tells_it(
    folder: Path, name: str
) -> None:
    with program(name, "denoising") as (screen, processes):
        screen.process.send_signal(SIGKILL)
        screen.process.wait()
        assert_gone(processes)
    assert [state for state, _ in records()] == ["lost"]


def test_nohup_keeps_a_run_alive(folder: Path) -> None:
    former = signal.signal(SIGHUP, signal.SIG_IGN)  # as nohup does, and the program inherits
    try:
        with program("run", "denoising") as (screen, processes):
            screen.process.send_signal(SIGHUP)
            screen.process.send_signal(SIGINT)
            assert screen.wait() == -SIGINT
            assert_gone(processes)
    finally:
        signal.signal(SIGHUP, former)
    assert records() == [("cancelled", "cancelled")]


def test_a_program_that_is_stopped_goes_on_when_it_is_continued(folder: Path) -> None:
    with program("run", "denoising") as (screen, processes):
        os.kill(screen.process.pid, signal.SIGSTOP)  # an orphan does not obey the one of Ctrl-Z
        shell = psutil.Process(screen.process.pid)
        give_up = time.monotonic() + 30
        while shell.status() != psutil.STATUS_STOPPED:
            assert time.monotonic() < give_up
        screen.process.send_signal(SIGTERM)
        os.kill(screen.process.pid, signal.SIGCONT)
        assert screen.wait() == -SIGTERM
        assert_gone(processes)
    assert_cancelled("denoising", CAUSES[SIGTERM])


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("name", ["run", "script"])
def test_a_run_whose_output_nobody_reads_is_cancelled(folder: Path, name: str, stream: str) -> None:
    how = ("run", "steps:=200") if name == "run" else ("shell", "-c", "run steps=200")
    options = ("--json",) if stream == "stdout" else ()
    program, *rest = how
    words = [program, "FluxDev", *rest] if name == "run" else [program, *options, "FluxDev", *rest]
    words += options if name == "run" else ()
    pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.console.program", "keeps_records", *words],
        env=os.environ | {"PYTHONPATH": ROOT, "DW_STANDBY": "off"},
        stdin=subprocess.DEVNULL,
        **pipes,
    ) as process:
        output = getattr(process, stream)
        assert any(b"Executing" in line for line in output)
        processes = psutil.Process(process.pid).children(recursive=True)
        output.close()
        assert process.wait(30) == 141
        assert_gone(processes)
    assert records() == [("cancelled", f"cancelled after step 1 of 4: {OUTPUT_CLOSED}")]


# ------------------------------------------------------------------ programs without a worker


def without_a_worker(*words: str) -> Screen:
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    return Screen([sys.executable, "-m", "dw", *words], PYTHONPATH=path)


@pytest.mark.parametrize(
    "end", [SIGTERM, *(pytest.param(n, marks=pytest.mark.long) for n in (SIGHUP, SIGINT))]
)
def test_a_rehearsal_is_cancelled_in_its_record(folder: Path, end: Signals) -> None:
    before = set(Path(tempfile.gettempdir()).glob("dw-rehearsal-*"))
    with without_a_worker("rehearse", "examples/FluxDev.json", "-o", "outputs") as screen:
        screen.wait_for_file(Path("outputs/FluxDev/0001/run.json"))
        screen.process.send_signal(end)
        assert screen.wait() == -end
        assert screen.text.endswith(CAUSES.get(end, "interrupted"))
        assert "Traceback" not in screen.text
    [(state, cause)] = records()
    assert state == "cancelled"
    assert cause.endswith(f"of 0: {CAUSES.get(end, 'interrupted')}")
    assert set(Path(tempfile.gettempdir()).glob("dw-rehearsal-*")) == before


@pytest.mark.parametrize(
    "end", [SIGTERM, *(pytest.param(n, marks=pytest.mark.long) for n in (SIGHUP, SIGINT))]
)
def test_a_validation_ends_by_a_signal(folder: Path, end: Signals) -> None:
    with without_a_worker("validate", *["examples/FluxDev.json"] * 500) as screen:
        screen.wait_for("examples/FluxDev.json")
        screen.process.send_signal(end)
        assert screen.wait() == -end
        assert screen.text.endswith(CAUSES.get(end, "interrupted"))
        assert "Traceback" not in screen.text
