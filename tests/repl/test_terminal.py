"""What a person sees, on a real terminal's screen."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from tests.repl.screen import Screen
from tests.repl.test_scripts import ROOT

CTRL_C, CTRL_D = "\x03", "\x04"


def shell(how: str = "succeeds", *arguments: str, **environment: str) -> Screen:
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "tests.repl.fake_shell", how, *arguments]
    screen = Screen(command, PYTHONPATH=path, **environment)
    screen.wait_for("dw>")
    return screen


def test_a_session_from_load_to_goodbye(folder: Path) -> None:
    with shell() as screen:
        screen.type("load FluxDev\r")
        screen.wait_for("seed")
        screen.type("run\r")
        screen.wait_for("(Workflow has been executed 1 time(s) in this session)")
        screen.type("exit\r")
        assert screen.wait() == 0
        assert screen.text.endswith("Shutting down worker process...\nGoodbye!")
        assert "denoise" not in screen.text, "the bar is gone"


def test_ctrl_c_at_an_empty_prompt_says_how_to_leave_and_ctrl_d_does(folder: Path) -> None:
    with shell() as screen:
        screen.type(CTRL_C)
        screen.wait_for("(Ctrl-D or exit to leave)")
        screen.type(f"abc{CTRL_C}{CTRL_D}")
        assert screen.wait() == 0
        assert screen.text.endswith("Goodbye!")


def test_ctrl_c_in_a_run_cancels_it_and_the_session_goes_on(folder: Path) -> None:
    with shell("hangs", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(CTRL_C)
        screen.wait_for("cancelled at step 2 of 4; the models are kept")
        screen.type("status\r")
        screen.wait_for("idle, process 7")


def test_a_second_ctrl_c_asks_before_the_worker_is_killed(folder: Path) -> None:
    with shell("ignores", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(CTRL_C)
        screen.wait_for("Ctrl-C again kills the worker")
        screen.type(CTRL_C)
        screen.wait_for("kill the worker? its models are lost [y/N]")
        screen.type("n\n")
        screen.wait_for("The worker goes on")
        screen.type(CTRL_C)
        screen.wait_for("kill the worker? its models are lost [y/N]", count=2)
        screen.type("y\n")
        screen.wait_for("the worker is gone: killed on request")
        screen.type("exit\r")
        assert screen.wait() == 0


def test_yes_answers_the_question(folder: Path) -> None:
    with shell("ignores", "FluxDev", "--yes") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(CTRL_C)
        screen.wait_for("Ctrl-C again kills the worker")
        screen.type(CTRL_C)
        screen.wait_for("the worker is gone: killed on request")


@pytest.mark.parametrize("how", ["succeeds", "hangs"])
def test_sigterm_ends_the_session_and_restores_the_terminal(folder: Path, how: str) -> None:
    with shell(how, "FluxDev") as screen:
        if how == "hangs":
            screen.type("run\r")
            screen.wait_for("Executing workflow")
        screen.process.send_signal(signal.SIGTERM)
        assert screen.wait() == -signal.SIGTERM
        assert screen.is_as_it_was


def test_a_script_may_end_at_the_prompt(folder: Path) -> None:
    with shell("succeeds", "-c", "load FluxDev", "-c", "arg steps=3", "-i") as screen:
        screen.type("arg steps\r")
        screen.wait_for("\n3")


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {"ACCESSIBLE": "1"}])
def test_a_simple_terminal_gets_lines_only(folder: Path, environment: dict[str, str]) -> None:
    with shell("succeeds", "FluxDev", **environment) as screen:
        assert "worker:" not in screen.text
        screen.type("run\r")
        screen.wait_for("gen: denoise 2/4 (50 %)")
        screen.wait_for("time(s) in this session)")
        screen.type("exit\r")
        assert screen.wait() == 0


def test_one_run_at_a_terminal_is_for_people(folder: Path) -> None:
    with Screen(
        [sys.executable, "-m", "tests.repl.fake_shell", "succeeds", "RUN", "FluxDev"],
        PYTHONPATH=ROOT,
    ) as screen:
        assert screen.wait() == 0
        assert screen.text.endswith("(Workflow has been executed 1 time(s) in this session)")
