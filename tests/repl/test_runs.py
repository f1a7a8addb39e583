"""What a run is given, and what is reported about it."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dw.console.run_monitor import RunMonitor
from dw.errors import Bug
from dw.events import Died, Failed
from dw.types import Diagnostic
from tests.repl.conftest import FLUX, Shell
from tests.repl.fake import INF, ending_with


def test_a_run_takes_the_files_text_the_arguments_and_the_settings(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30", "config output_dir=out rehearse=on device=cpu", "run")
    run = shell.last_run
    assert run.arguments == {"steps": 30}
    assert json.loads(run.text) == FLUX
    assert run.output_dir == str(shell.folder / "out")
    assert (run.device, run.rehearse, run.permissions.trust) == ("cpu", True, False)
    assert shell.client.timeouts[-1] == 300.0


def test_a_run_takes_trust_and_the_folders_that_are_allowed(shell: Shell) -> None:
    models = shell.folder / "models"
    shell.say("load FluxDev", f"config trust=on allowed_dirs={models}:~/more", "run")
    run = shell.last_run
    assert run.permissions.trust
    assert run.permissions.allowed_dirs[:2] == (models, Path("~/more").expanduser())


def test_words_of_run_hold_for_that_run_only(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30", "run steps=5 --timeout 2")
    assert shell.last_run.arguments == {"steps": 5}
    assert shell.client.timeouts[-1] == 2.0
    shell.say("run")
    assert shell.last_run.arguments == {"steps": 30}


def test_a_workflow_may_say_how_long_it_takes(shell: Shell) -> None:
    variables = FLUX["variables"] | {"limit": 60}
    shell.edit(variables=variables, timeout="variable:limit")
    shell.say("load FluxDev", "run", "run limit=90", "run --timeout 2", "arg limit=30", "run")
    assert [each for each in shell.client.timeouts if each < INF] == [60, 90, 2.0, 30]
    shell.edit(timeout=-1)
    assert shell.code("run") == 3


def test_retry_runs_the_very_same_again(shell: Shell) -> None:
    shell.client.answers = [ending_with(lambda n: Died(n, "signal", "killed by signal 9", 7))]
    shell.say("load FluxDev", "arg steps=30", "run steps=5 --timeout 9")
    first = shell.last_run
    shell.say("arg prompt=fox")
    shell.edit(description="changed meanwhile")
    assert "Workflow completed successfully" in shell.say("retry")
    again = shell.last_run
    assert again == replace(first, run_id=again.run_id)
    assert shell.client.timeouts[-1] == 9.0


def test_retry_may_be_given_more_time(shell: Shell) -> None:
    shell.say("load FluxDev", "run", "retry --timeout 600")
    assert shell.client.timeouts[-1] == 600.0


def test_before_the_first_run_there_is_nothing_to_retry(shell: Shell) -> None:
    assert shell.say("load FluxDev", "retry").splitlines()[-2:] == [
        "error: nothing was run so far",
        "  run",
    ]


@pytest.mark.parametrize("text", ["0", "-1", "x", "inf", "nan"])
def test_a_timeout_is_a_number_above_zero(shell: Shell, text: str) -> None:
    assert shell.code("load FluxDev") == 0
    assert shell.code(f"run --timeout {text}") == 2


def test_a_file_that_became_invalid_is_an_error_and_nothing_is_unloaded(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    good = (shell.folder / "examples" / "FluxDev.json").read_text()
    (shell.folder / "examples" / "FluxDev.json").write_text(good.replace("steps", "stpes"))
    assert shell.code("run") == 3
    assert shell.client.has_worker
    (shell.folder / "examples" / "FluxDev.json").write_text(good)
    assert "Reusing loaded models from cache" in shell.say("run")


def test_the_last_run_can_be_named(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=9")
    assert shell.say("let a=${run.seed} b=${run.id} c=${run.output}", "let").splitlines() == [
        "  variable  value",
        "  a         9",
        "  b         1",
        f"  c         {shell.folder}/outputs/1.png",
    ]


def test_problems_that_the_worker_found_keep_their_positions(shell: Shell) -> None:
    problems = (Diagnostic("a.json", 1, 2, "x"), Diagnostic("a.json", 3, 4, "y"))
    shell.client.answers = [
        ending_with(lambda run_id: Failed(run_id, "workflow", "2 problems", problems=problems))
    ]
    shell.say("load FluxDev")
    assert shell.code("run") == 3
    assert shell.shown().splitlines()[-3:] == ["error: 2 problems", *map(str, problems)]


@pytest.mark.parametrize(
    ("kind", "is_told"), [("usage", False), ("workflow", False), ("run", True)]
)
def test_a_trace_is_named_where_it_says_more(shell: Shell, kind: Any, is_told: bool) -> None:
    failed = ending_with(lambda run_id: Failed(run_id, kind, "no", trace="Traceback ..."))
    shell.client.answers = [failed]
    assert ("full trace" in shell.say("load FluxDev", "run")) is is_told


def test_what_the_worker_calls_a_bug_is_one(shell: Shell) -> None:
    shell.client.answers = [ending_with(lambda run_id: Failed(run_id, "bug", "KeyError: 'x'"))]
    shell.say("load FluxDev")
    assert shell.code("run") == Bug.exit_code


def test_a_third_interrupt_is_a_yes_and_an_ended_run_a_no(shell: Shell) -> None:
    def ask(_question: str, decided: Callable[[], bool | None]) -> bool:
        assert decided() is None
        signal.raise_signal(signal.SIGINT)
        answer = decided()
        assert answer is not None
        return answer

    monitor = RunMonitor(shell.client, shell.session.renderer, ask=ask)
    with monitor.signals:
        assert monitor.ask("kill?")
    monitor = RunMonitor(
        shell.client, shell.session.renderer, ask=lambda _, decided: bool(decided())
    )
    assert not monitor.ask("kill?", is_moot=lambda: True)


def test_memory_in_a_script_is_separated_by_tabs(scripted: Shell) -> None:
    scripted.say("load FluxDev", "run")
    lines = scripted.say("memory").splitlines()
    assert lines[7].split("\t") == ["component", "class", "dtype", "device", "size", "last used"]
    assert lines[8].split("\t")[0] == "gen.vae"


def test_a_file_that_nobody_touched_is_not_called_changed(shell: Shell) -> None:
    shell.say("load FluxDev", "run", "clear")
    text = shell.say("run")
    assert "Workflow file changed" not in text
    assert "Loading workflow from examples/FluxDev.json" in text
    shell.edit(description="another")
    assert "Workflow file changed - reloading models..." in shell.say("run")
