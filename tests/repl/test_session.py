"""The session: status, settings, variables, scripts, and what it says of mistakes and bugs."""

from __future__ import annotations

import io
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.console.tracebacks import Tracebacks
from dw.errors import Bug, UsageError
from dw.repl.commands.registry import parse
from dw.repl.lexer import lex
from dw.repl.session import ExitShell, Session
from dw.settings import Settings
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream
from dw.worker.handle import WorkerStatus
from tests.repl.conftest import Shell
from tests.repl.fake import FakeClient

GB = 2**30


def test_status_shows_workflow_arguments_and_worker(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30", "run")
    assert shell.say("status").splitlines() == [
        "  what       is",
        "  workflow   FluxDev (examples/FluxDev.json)",
        "  arg steps  30",
        "  worker     idle, process 7",
        "  device     Test GPU",
        "  outputs    outputs",
    ]


def test_status_shows_what_the_processes_cost_and_what_ails_them(shell: Shell) -> None:
    status = WorkerStatus(
        "running",
        pid=7,
        standby_pid=8,
        run_id=1,
        rss=2 * GB,
        standby_rss=GB // 2,
        silent_s=12.3,
        restarts=2,
    )
    shell.client.status = lambda: status  # type: ignore[method-assign]
    lines = shell.say("worker").splitlines()[1:]
    assert [line.split(maxsplit=1) for line in lines] == [
        ["worker", "running, process 7, 2048.0 MB of memory"],
        ["Python", "has not responded for 12 s (the GIL is held or the process is stopped)"],
        ["standby", "process 8, 512.0 MB of memory"],
        ["restarts", "2 of 5 in a row"],
    ]


def test_status_says_why_there_is_no_standby(shell: Shell) -> None:
    status = WorkerStatus("none", None, None, None, standby_trouble="exited with code 1")
    shell.client.status = lambda: status  # type: ignore[method-assign]
    assert "standby  none: exited with code 1" in shell.say("worker")


def test_the_worker_by_hand(shell: Shell) -> None:
    assert shell.say("worker stop") == "No worker is running\n"
    assert shell.say("worker where") == "No worker is running\n"
    shell.say("load FluxDev", "run")
    assert shell.say("worker where") == "idle\n"
    assert shell.say("worker where --full") == "idle\nThread 0x1: ...\n"
    assert shell.say("worker restart").splitlines() == [
        "Shutting down worker process...",
        "Worker ready",
    ]
    assert "(did you mean 'restart'?)" in shell.say("worker restrat")


def test_settings_change_for_the_session_and_with_s_for_the_next_ones(shell: Shell) -> None:
    shell.say("config timeout=60 rehearse=on")
    assert shell.client.settings.timeout == 60
    shell.say("config grace=5 -s")
    assert (shell.folder / "xdg_config_home/dw/config.toml").read_text() == "grace = 5.0\n"
    assert shell.say("config timeout").splitlines()[1].split()[:2] == ["timeout", "60"]
    assert shell.code("config timeout=1 grace=never") == 2
    assert shell.session.settings.timeout == 60
    assert "(did you mean 'timeout'?)" in shell.say("config timeuot")


def test_variables_come_from_let_and_the_environment(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOX", "a red fox")
    shell.say("load FluxDev", "let n=12", 'arg prompt="${env.FOX}!" steps=${n}')
    assert shell.session.workflow.overrides == {"prompt": "a red fox!", "steps": 12}
    assert "${m} is not set" in shell.say("arg prompt=${m}")
    assert "no run has finished yet" in shell.say("arg prompt=${run.output}")


def test_try_goes_on_and_leaves_the_exit_code(shell: Shell) -> None:
    assert shell.code("try load nothing") == 0
    assert shell.session.variables.lookup("status") == "2"


def test_a_file_is_sourced_up_to_its_first_failure(shell: Shell) -> None:
    Path("a.dw").write_text("load FluxDev\narg stpes=3\nrun\n")
    assert shell.code("source a.dw") == 2
    assert "a.dw:2: error: FluxDev has no argument 'stpes'" in shell.shown()
    assert not shell.client.has_worker


def test_a_file_that_sources_itself_is_refused(shell: Shell) -> None:
    Path("a.dw").write_text("source a.dw\n")
    assert "a.dw:1: error: a.dw sources itself" in shell.say("source a.dw")


@pytest.mark.parametrize(
    ("grouped", "plain"),
    [
        ("workflow load FluxDev", "load FluxDev"),
        ("workflow reload", "reload"),
        ("workflow run", "run"),
        ("workflow status", "status"),
        ("arg set steps=3", "arg steps=3"),
        ("arg show", "arg"),
        ("arg clear", "arg reset"),
        ("memory show", "memory"),
        ("memory clear", "clear"),
        ("config set timeout=3", "config timeout=3"),
        ("config show", "config"),
        ("workflow restart", "worker restart"),
    ],
)
def test_the_grouped_grammar_means_the_same(grouped: str, plain: str) -> None:
    def meant(line: str) -> tuple[str, tuple[str, ...], tuple[tuple[str, str], ...]]:
        found = parse(lex(line))
        return found.command.name, found.words, found.given

    assert meant(grouped) == meant(plain)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu", "unknown command 'rnu' (did you mean 'run'?)"),
        ("workflow laod x", "unknown command 'workflow laod' (did you mean 'load'?)"),
        ("workflow", "workflow needs another word"),
        ("load", "load needs NAME"),
        ("load a b", "load does not take 'b'"),
        ("clear --hrad", "clear has no option --hrad (did you mean '--hard'?)"),
        ("run --timeout", "run: --timeout needs a value"),
        ("run fast", "run does not take 'fast'"),
        ("try", "try needs COMMAND"),
        ("try rnu", "unknown command 'rnu'"),
        ("steps=3", "a command is missing before steps="),
        ("exit now", "exit takes a number, got 'now'"),
        ("trace", "nothing has failed so far"),
        ('arg prompt="a', 'this " is never closed\n  arg prompt="a\n             ^'),
        ("help rnu", "unknown command 'rnu'"),
    ],
)
def test_a_mistake_has_one_clear_message(shell: Shell, line: str, message: str) -> None:
    assert shell.code(line) == 2
    assert shell.shown().startswith(f"error: {message}")


def test_a_bug_of_ours_is_one_line_and_the_session_goes_on(shell: Shell) -> None:
    def broken() -> None:
        raise ZeroDivisionError("by zero")

    shell.client.status = broken  # type: ignore[method-assign, assignment]
    assert shell.code("status") == Bug.exit_code
    assert shell.shown().splitlines() == [
        "error: a bug in dw: ZeroDivisionError: by zero",
        "full trace: trace",
    ]
    assert "ZeroDivisionError" in shell.say("trace")


def test_only_the_last_traces_are_kept() -> None:
    traces = Tracebacks()
    for number in range(1, 60):
        traces.keep(number, f"text {number}")
    assert (traces.find(), traces.find(10)) == ("text 59", "text 10")
    with pytest.raises(UsageError, match="unknown trace 9"):
        traces.find(9)


@given(st.text())
def test_no_line_ends_the_session(line: str) -> None:
    out = Stream(io.StringIO())
    session = Session(FakeClient(), PlainRenderer(out, out), Settings())
    with suppress(ExitShell):
        assert session.attempt(line) in (0, 2)


def test_exit_leaves_with_its_code(shell: Shell) -> None:
    for line, code in [("exit", None), ("quit", None), ("exit 4", 4)]:
        with pytest.raises(ExitShell) as caught:
            shell.session.attempt(line)
        assert caught.value.exit_code == code
    assert shell.code("exit 126") == 2


def test_execute_raises_what_attempt_shows(shell: Shell) -> None:
    with pytest.raises(UsageError, match="no workflow is loaded"):
        shell.session.execute("run")


def test_only_what_was_changed_here_is_kept(shell: Shell) -> None:
    file = shell.folder / "xdg_config_home/dw/config.toml"
    shell.session.settings = replace(shell.session.settings, device="cpu")  # by --device
    assert "nothing to keep" in shell.say("config -s")
    assert not file.exists()
    shell.say("config timeout=9")
    assert shell.say("config -s") == f"kept timeout in {file}\n"
    assert file.read_text() == "timeout = 9.0\n"
    shell.say("config device -s")
    assert file.read_text() == 'timeout = 9.0\ndevice = "cpu"\n'
    assert shell.code("config devcie -s") == 2
