"""`run &`: runs behind the prompt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dw.events import Event, Executing, Failed, Run
from tests.repl import fake_shell
from tests.repl.conftest import Shell
from tests.repl.fake import FakeClient, ending_with
from tests.repl.test_on_a_terminal import shell as terminal


def hang(_client: FakeClient, run: Run) -> Iterator[Event]:
    yield Executing(run.run_id, "FluxDev")


def test_runs_in_the_background_are_told_when_they_have_ended(shell: Shell) -> None:
    text = shell.say("load FluxDev", "run steps=4,8 seed=7 &", "wait")
    assert "[1] FluxDev steps=4, seed=7" in text
    assert "[1]  outputs  0.5 s  seed 7  steps=4, seed=7  outputs/1.png" in text
    assert "[2]  outputs  0.5 s  seed 7  steps=8, seed=7  outputs/2.png" in text
    assert shell.say("queue").startswith("Nothing runs in the background")


def test_what_was_typed_later_changes_nothing_of_a_run_that_waits(shell: Shell) -> None:
    shell.say("load FluxDev", "run steps=4 &", "arg steps=9", "wait")
    assert shell.last_run.arguments == {"steps": 4}


def test_a_run_in_the_background_is_listed_and_cancelled(shell: Shell) -> None:
    shell.client.answers = [hang, hang]
    shell.say("load FluxDev", "run steps=4 &", "run steps=8 &")
    assert [line.split()[0] for line in shell.say("queue").splitlines()[1:]] == ["1", "2"]
    shell.say("cancel 2", "cancel 1")
    assert shell.code("wait") == 130
    text = shell.shown()
    assert "[1] cancelled at step 2 of 4" in text
    assert "[2] cancelled at step 2 of 4" in text


def test_the_worker_is_not_stopped_below_its_runs(shell: Shell) -> None:
    shell.client.answers = [hang]
    shell.say("load FluxDev", "run &")
    for line in ("worker stop", "worker restart", "clear --hard"):
        assert shell.code(line) == 2
    assert "the worker has 1 run(s) in the background" in shell.shown()
    assert "Shutting down" not in shell.say("load sdxl")
    assert "GPU Memory Status" in shell.say("memory")
    assert "idle" in shell.say("worker where")
    shell.say("cancel all", "wait")
    assert "Shutting down worker process..." in shell.say("worker stop")


def test_wait_fails_as_the_runs_did(scripted: Shell) -> None:
    scripted.client.answers = [ending_with(lambda n: Failed(n, "resources", "out of GPU memory"))]
    scripted.say("load FluxDev", "run &", "run &")
    assert scripted.code("wait") == 5
    assert "error: [1] out of GPU memory" in scripted.err.getvalue()
    assert scripted.code("wait") == 0


@pytest.mark.parametrize("line", ["cancel 7", "cancel x", "run foo", "run steps=2 foo"])
def test_what_is_not_there_is_told(shell: Shell, line: str) -> None:
    shell.say("load FluxDev")
    assert shell.code(line) == 2


def test_a_prompt_that_is_not_quoted_may_run_in_the_background(shell: Shell) -> None:
    shell.say("load FluxDev", "run prompt=a red fox &", "wait")
    assert shell.last_run.arguments == {"prompt": "a red fox"}


@pytest.mark.usefixtures("folder")
def test_the_end_of_a_run_is_shown_above_what_is_being_typed() -> None:
    with terminal("hangs", "FluxDev") as screen:
        screen.type("run steps=4 &\r")
        screen.wait_for("1 in the background")
        screen.type("cancel 1\rmemo")
        screen.wait_for("[1] cancelled at step 2 of 4")
        screen.wait_for("dw> memo")
        assert "[1] cancelled" not in screen.text.split("\n")[-1]


@pytest.mark.parametrize(("how", "code"), [("succeeds", 0), ("no_memory", 5)])
@pytest.mark.usefixtures("folder")
def test_a_script_ends_when_its_runs_in_the_background_have(
    monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    monkeypatch.setattr("sys.argv", ["dw", how])
    assert fake_shell.app.main(["-c", "load FluxDev", "-c", "run &"], fake_shell.connect) == code
