"""The shell on a real terminal: what a person sees on its screen."""

from __future__ import annotations

import errno
import os
import pty
import signal
import sys
import termios
from pathlib import Path

import pytest
from prompt_toolkit.input.vt100 import Vt100Input

from dw.console.run_keys import Keys
from dw.repl.terminal_input import end_on_errors
from tests.repl.conftest import FLUX, write
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


def test_tab_finishes_what_can_only_be_one_thing(folder: Path) -> None:
    with shell() as screen:
        for typed, shown in [("lo", "dw> load"), ("Fl", "load FluxDev"), ("sh", "FluxDev sharp=")]:
            screen.type(f"{typed}\t")
            screen.wait_for(shown)
        screen.type("yes\r")
        screen.wait_for("sharp     boolean  true")


def test_ctrl_c_closes_the_menu_and_clears_the_line(folder: Path) -> None:
    with shell() as screen:
        screen.type("re\t")
        screen.wait_for("retry")
        screen.type("\t")
        screen.wait_for("dw> reload")
        screen.type(f"{CTRL_C}help trace\r")
        screen.wait_for("usage: trace")


def test_a_third_ctrl_c_answers_the_question(folder: Path) -> None:
    with shell("ignores", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(CTRL_C)
        screen.wait_for("Ctrl-C again kills the worker")
        screen.type(CTRL_C)
        screen.wait_for("[y/N]")
        screen.type(CTRL_C)
        screen.wait_for("the worker is gone: killed on request")
        screen.type("exit\r")
        assert screen.wait() == 0


def test_what_a_workflow_says_cannot_steer_the_terminal(folder: Path) -> None:
    write(folder / "examples" / "evil.json", FLUX | {"description": "\x1b[2J\x9b5mgone"})
    with shell() as screen:
        screen.type("load evil\r")
        screen.wait_for("FluxDev: \\u001b[2J\\u009b5mgone")


def test_a_table_fits_the_terminal(folder: Path) -> None:
    with shell() as screen:
        screen.resize(50)
        screen.type("help\r")
        screen.wait_for(
            "  load      find a workflow, check it and show\n"
            "            what it takes; loads no model yet\n"
        )


def test_a_preview_is_drawn_above_the_bar_and_goes_with_it(folder: Path) -> None:
    with shell("previews", "FluxDev", COLORTERM="truecolor") as screen:
        screen.type("run\r")
        screen.wait_for("▀" * 32, count=16)
        shown = screen.text.split("\n")
        assert shown[-1].strip().startswith("gen: denoise"), "below it"
        assert {cell.fg for cell in screen.row("▀").values() if cell.data == "▀"} == {"c80000"}
        screen.type("help trace\r")  # ahead, while the image is drawn again and again
        screen.wait_until_read()
        screen.type("s")
        screen.wait_for("usage: trace")
        assert "▀" not in screen.text, "no line of it is left"
        assert screen.text.count("dw> help trace") == 1


def test_a_plain_shell_asks_for_no_previews(folder: Path) -> None:
    with shell("previews", "FluxDev", "--plain", DW_PREVIEWS="on") as screen:
        screen.type("run\r")
        screen.wait_for_file(folder / "hangs")
        screen.type(CTRL_C)
        screen.wait_for("cancelled at step 2 of 4")
        assert "▀" not in screen.text


def test_kitty_is_sent_a_preview_once_and_told_to_forget_it(folder: Path) -> None:
    with shell("previews", "FluxDev", DW_IMAGES="kitty") as screen:
        screen.type("run\r")
        screen.wait_for_bytes(b"\033_Ga=T,f=100,q=2,U=1,i=77,r=16,c=32,")
        screen.wait_for("\U0010eeee" * 31, count=16)  # the first has marks
        screen.type(CTRL_C)
        screen.wait_for("cancelled at step 2 of 4")
        assert screen.received.count(b"U=1,i=77") == 1
        assert b"\033_Ga=d,d=I,i=77,q=2\033\\" in screen.received


def test_ctrl_c_in_a_run_cancels_it_and_the_session_goes_on(folder: Path) -> None:
    with shell("hangs", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(CTRL_C)
        screen.wait_for("cancelled at step 2 of 4; the models are kept")
        screen.type("status\r")
        screen.wait_for("idle, process 7")


def test_s_in_a_run_ends_it_early(folder: Path) -> None:
    with shell("hangs", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("s ends the denoising early and keeps the image, Ctrl-C cancels")
        screen.type("s")
        screen.wait_for("Stopping: the denoising ends with this step, about 1.2 s")
        screen.wait_for("Workflow completed successfully")
        screen.type("exit\r")
        assert screen.wait() == 0
        assert screen.is_as_it_was


def test_what_is_typed_ahead_of_the_prompt_is_taken_by_it(folder: Path) -> None:
    with shell("hangs", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type("status\r")
        screen.wait_until_read()
        screen.type("s")
        screen.wait_for("Workflow completed successfully")
        screen.wait_for("idle, process 7")


def test_ctrl_c_forgets_what_was_typed_ahead(folder: Path) -> None:
    with shell("hangs", "FluxDev") as screen:
        screen.type("run\r")
        screen.wait_for("Executing workflow")
        screen.type(f"status\r{CTRL_C}")
        screen.wait_for("cancelled at step 2 of 4; the models are kept")
        screen.wait_for("dw>", count=2)
        assert "idle, process 7" not in screen.text


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
        assert "step gen: FluxPipeline" not in screen.text, "the summary is for a session"
        assert screen.text.splitlines()[-2:] == [
            "(Workflow has been executed 1 time(s) in this session)",
            "1.5 s (loading 1.0 s)",
        ]


LOSES_ITS_SHELL = """
import os, signal, sys

def take_the_terminal_back(*_):
    os.tcsetpgrp(0, os.getpgrp())
    open("taken-back", "x").close()

signal.signal(signal.SIGUSR1, take_the_terminal_back)
signal.signal(signal.SIGTTOU, signal.SIG_IGN)
ended, held = os.pipe()
between = os.fork()
if between == 0:
    os.setpgid(0, 0)
    os.tcsetpgrp(0, os.getpid())
    if os.fork():
        os._exit(0)
    signal.signal(signal.SIGTTOU, signal.SIG_DFL)
    os.set_inheritable(held, True)
    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
os.close(held)
os.waitpid(between, 0)
os.read(ended, 1)
"""
"""Starts the shell as a job whose parent is gone, sends it to the background when it is told to,
and ends with it."""


def test_a_shell_in_the_background_that_nobody_can_bring_back_ends(folder: Path) -> None:
    path = os.pathsep.join([ROOT, os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", LOSES_ITS_SHELL, "-m", "tests.repl.fake_shell", "succeeds"]
    with Screen(command, PYTHONPATH=path) as screen:
        screen.wait_for("dw>")
        screen.process.send_signal(signal.SIGUSR1)
        screen.wait_for_file(folder / "taken-back")
        screen.type("x")
        assert screen.wait() == 0
        assert screen.text.endswith("Goodbye!")


def test_a_terminal_whose_mode_cannot_be_set_ends_the_prompt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, inner = pty.openpty()
    with os.fdopen(terminal, "rb"), os.fdopen(inner, encoding="utf-8") as stdin:
        source = Vt100Input(stdin)
        end_on_errors(source)

        def fail(*_: object) -> None:
            raise termios.error(errno.EIO, "Input/output error")

        monkeypatch.setattr(termios, "tcsetattr", fail)
        with pytest.raises(EOFError), source.raw_mode():
            pass
        with Keys(inner).watched(lambda: None):
            pass  # its keys are not read


def test_a_command_of_the_system_runs_at_the_prompt(folder: Path) -> None:
    with shell() as screen:
        screen.type("!echo it is $((6*7)); exit 3\r")
        screen.wait_for("it is 42\nexit code 3")
        screen.type("exit\r")
        assert screen.wait() == 0
