from __future__ import annotations

import io
import json
import re
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dw.errors import EXIT_BUG, UsageError
from dw.repl.lexer import lex
from dw.repl.registry import parse
from dw.repl.renderers.plain import PlainRenderer
from dw.repl.renderers.renderer import Stream
from dw.repl.session import Leave, Session
from dw.repl.traces import Traces
from dw.report import Problem
from dw.settings import Settings
from dw.worker.client import WorkerStatus
from dw.worker.protocol import Died, Failed, Prepare, Run
from tests.repl.conftest import FLUX, Shell, write
from tests.repl.fake import FakeClient, ending_with

GB = 2**30


def last_run(shell: Shell) -> Run:
    return [command for command in shell.client.commands if isinstance(command, Run)][-1]


# ------------------------------------------------------------------ load


def test_load_shows_the_workflow_on_one_screen(shell: Shell) -> None:
    assert shell.say("load FluxDev steps=20").splitlines() == [
        "FluxDev: text to image",
        "  from examples/FluxDev.json",
        "  step gen: FluxPipeline, nobody/tiny",
        "  argument  type     value",
        "  prompt    text     a cat",
        "  steps     integer  20",
        "  sharp     boolean  false",
        "  model     text     nobody/tiny",
        "  seed      integer  random",
    ]


def test_load_lets_the_standby_prepare(shell: Shell) -> None:
    shell.say("load FluxDev")
    (command,) = shell.client.commands
    assert isinstance(command, Prepare)
    assert command.path == str(shell.folder / "examples" / "FluxDev.json")


@pytest.mark.parametrize("name", ["FluxDev.json", "examples/FluxDev", "./examples/FluxDev.json"])
def test_a_workflow_is_found_by_name_file_or_path(shell: Shell, name: str) -> None:
    assert shell.code(f"load {name}") == 0
    assert shell.session.workflow.display == "examples/FluxDev.json"


def test_a_workflow_that_does_not_load_leaves_all_as_it_was(shell: Shell) -> None:
    write(shell.folder / "examples" / "broken.json", FLUX | {"steps": []})
    shell.say("load FluxDev", "run")
    assert shell.code("load broken") == 3
    assert shell.code("load FluxDve") == 2
    assert shell.code("load sdxl stpes=3") == 2
    assert shell.session.workflow.name == "FluxDev"
    assert shell.client.has_worker


def test_an_unknown_workflow_is_named_with_the_nearest(shell: Shell) -> None:
    assert "(did you mean 'FluxDev'?)" in shell.say("load FluxDve")


def test_a_broken_file_is_shown_with_its_positions(shell: Shell) -> None:
    path = shell.folder / "examples" / "broken.json"
    path.write_text('{"id": "x",\n "steps": [}')
    assert shell.say("load broken").startswith("error: examples/broken.json:2:12: ")


# ------------------------------------------------------------------ arg


def test_arguments_take_the_declared_type(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=30 steps=30 sharp=yes")
    assert shell.session.workflow.overrides == {"prompt": "30", "steps": 30, "sharp": True}


def test_arguments_are_set_all_or_none(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say("arg prompt=fox steps=abc stpes=3").splitlines() == [
        "error: steps must be an integer, got 'abc';"
        " FluxDev has no argument 'stpes' (did you mean 'steps'?)",
        "  arg   lists the arguments; nothing was changed",
    ]
    assert shell.session.workflow.overrides == {}


def test_a_value_with_blanks_asks_for_quotes(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say("arg prompt=a red fox").splitlines() == [
        "error: what does 'red' belong to?",
        '  quote a value that has blanks in it: prompt="a red"',
    ]


def test_arg_shows_a_table(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30")
    assert shell.say("arg").splitlines() == [
        "  argument  type     value        default",
        "  prompt    text     a cat",
        "  steps*    integer  30           25",
        "  sharp     boolean  false",
        "  model     text     nobody/tiny",
        "  seed      integer  random",
    ]
    assert shell.say("arg steps") == "30\n"


def test_arguments_go_back_to_their_defaults(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=fox steps=30 seed=1", "arg -steps")
    assert shell.session.workflow.changed() == {"prompt": "fox", "seed": 1}
    shell.say("arg reset")
    assert shell.session.workflow.changed() == {}
    assert shell.code("arg -stpes") == 2


def test_a_text_comes_from_a_file(shell: Shell) -> None:
    Path("fox.txt").write_text("a red\nfox\n")
    Path("n.json").write_text("12")
    shell.say("load FluxDev", "arg prompt=@fox.txt steps:=@n.json")
    assert shell.session.workflow.overrides == {"prompt": "a red\nfox", "steps": 12}


def test_a_file_that_is_no_text_is_refused_with_the_way_to_pass_its_path(shell: Shell) -> None:
    Path("cat.png").write_bytes(b"\x89PNG\xff")
    assert "prompt=cat.png   passes the path" in shell.say("load FluxDev", "arg prompt=@cat.png")
    assert shell.code("arg prompt=@nothing.txt") == 2


# ------------------------------------------------------------------ seeds


def test_a_seed_is_taken_though_the_workflow_declares_none(shell: Shell) -> None:
    shell.say("load FluxDev", "arg seed=7", "run")
    assert last_run(shell).seed == 7
    assert "seed" not in last_run(shell).arguments


def test_a_declared_seed_is_an_argument_like_any_other(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"seed": 1})
    shell.say("load FluxDev", "run seed=7")
    assert last_run(shell).seed is None
    assert last_run(shell).arguments["seed"] == 7


def test_seeds_are_numbers_random_or_last(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert "got 'last' (there was no run yet)" in shell.say("run seed=last")
    shell.say("run seed=9", "run seed=last")
    assert last_run(shell).seed == 9
    shell.say("run seed=random")
    assert last_run(shell).seed not in (None, 9)
    assert [
        shell.code(f"arg seed={text}") for text in ("x", "-1", "1.5", "9223372036854775808")
    ] == [2] * 4


# ------------------------------------------------------------------ run


def test_a_run_takes_the_files_text_the_arguments_and_the_settings(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30", "config output_dir=out rehearse=on device=cpu", "run")
    run = last_run(shell)
    assert run.arguments == {"steps": 30}
    assert json.loads(run.text) == FLUX
    assert run.output_dir == str(shell.folder / "out")
    assert (run.device, run.rehearse, run.trust) == ("cpu", True, False)
    assert shell.client.timeouts[-1] == 300.0


def test_a_run_takes_trust_and_the_folders_that_are_allowed(shell: Shell) -> None:
    models = shell.folder / "models"
    shell.say("load FluxDev", f"config trust=on allowed_dirs={models}:~/more", "run")
    run = last_run(shell)
    assert run.trust
    assert run.allowed[:2] == (str(models), str(Path("~/more").expanduser()))


def test_words_of_run_hold_for_that_run_only(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30", "run steps=5 --timeout 2")
    assert last_run(shell).arguments == {"steps": 5}
    assert shell.client.timeouts[-1] == 2.0
    shell.say("run")
    assert last_run(shell).arguments == {"steps": 30}


def test_a_workflow_may_say_how_long_it_takes(shell: Shell) -> None:
    variables = FLUX["variables"] | {"limit": 60}
    shell.edit(variables=variables, timeout="variable:limit")
    shell.say("load FluxDev", "run", "run limit=90", "run --timeout 2", "arg limit=30", "run")
    assert [each for each in shell.client.timeouts if each] == [60, 90, 2.0, 30]
    shell.edit(timeout=-1)
    assert shell.code("run") == 3


def test_retry_runs_the_very_same_again(shell: Shell) -> None:
    shell.client.answers = [ending_with(lambda n: Died(n, "signal", "killed by signal 9", 7))]
    shell.say("load FluxDev", "arg steps=30", "run steps=5 --timeout 9")
    first = last_run(shell)
    shell.say("arg prompt=fox")
    shell.edit(description="changed meanwhile")
    assert "Workflow completed successfully" in shell.say("retry")
    again = last_run(shell)
    assert again == replace(first, run_id=again.run_id, seed=42)  # 42: as it was drawn
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


def test_an_argument_that_no_longer_fits_is_dropped_and_said(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30 sharp=yes prompt=fox")
    shell.edit(variables={"prompt": "a cat", "steps": [1, 2], "model": "nobody/tiny"})
    assert shell.say("reload").splitlines()[:2] == [
        "warning: the argument steps was dropped: steps must be a list of integers, got 30",
        "warning: the argument sharp was dropped: FluxDev has no argument 'sharp'",
    ]
    assert shell.session.workflow.overrides == {"prompt": "fox"}


def test_the_last_run_can_be_named(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=9")
    assert shell.say("let a=${run.seed} b=${run.id} c=${run.output}", "let").splitlines() == [
        "  variable  value",
        "  a         9",
        "  b         2",
        f"  c         {shell.folder}/outputs/1.png",
    ]


# ------------------------------------------------------------------ the rest


def test_validate_shows_every_problem(shell: Shell) -> None:
    shell.client.problems = (
        Problem("f.json", 1, 2, "no such class"),
        Problem("f.json", 3, 1, "unused", "warning"),
    )
    assert shell.say("load FluxDev", "validate").splitlines()[-3:] == [
        "f.json:1:2: error: no such class",
        "f.json:3:1: warning: unused",
        "error: examples/FluxDev.json has 1 error(s)",
    ]
    assert shell.code("validate sdxl") == 3
    shell.client.problems = ()
    assert shell.say("validate sdxl") == "examples/sdxl.json is valid\n"


@pytest.mark.parametrize("line", ["validate", "run"])
def test_what_the_classes_say_of_a_broken_file_is_told_with_the_rest(
    shell: Shell, line: str
) -> None:
    shell.say("load FluxDev")
    shell.edit(seed="x")
    shell.client.problems = (Problem("examples/FluxDev.json", 9, 9, "no argument 'promt'"),)
    told = [each for each in shell.say(line).splitlines() if each.startswith("examples/")]
    assert told == [
        "examples/FluxDev.json:9:9: error: no argument 'promt'",
        "examples/FluxDev.json:31:10: error: 'seed' must be an integer, got 'x'",
    ]


def test_what_is_no_json_is_told_without_a_worker(shell: Shell) -> None:
    (shell.folder / "examples" / "FluxDev.json").write_text("{")
    assert "examples/FluxDev.json:1:2: error: the file ends too early" in shell.say(
        "validate FluxDev"
    )
    assert shell.client.commands == []


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
        ["Python", "does not answer since 12 s (the GIL is held or the process is stopped)"],
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
        "A worker stands ready",
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
    def meant(line: str) -> tuple[str, list[str], list[tuple[str | None, str]]]:
        found = parse(lex(line))
        pairs = [(word.name, word.text) for word in found.pairs]
        return found.command.name, [word.text for word in found.words], pairs

    assert meant(grouped) == meant(plain)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("rnu", "unknown command 'rnu' (did you mean 'run'?)"),
        ("rerun", "unknown command 'rerun' (did you mean 'run'?)"),
        ("workflow laod x", "unknown command 'workflow laod' (did you mean 'load'?)"),
        ("workflow", "workflow what?"),
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
    assert shell.code("status") == EXIT_BUG
    assert shell.shown().splitlines() == [
        "error: a bug in dw: ZeroDivisionError: by zero",
        "full trace: trace 1",
    ]
    assert "ZeroDivisionError" in shell.say("trace")


def test_only_the_last_traces_are_kept() -> None:
    traces = Traces()
    for number in range(1, 60):
        traces.keep(number, f"text {number}")
    assert (traces.find(), traces.find(10)) == ("text 59", "text 10")
    with pytest.raises(UsageError, match="there is no trace 9"):
        traces.find(9)


@given(st.text())
def test_no_line_ends_the_session(line: str) -> None:
    out = Stream(io.StringIO())
    session = Session(FakeClient(), PlainRenderer(out, out), Settings())
    with suppress(Leave):
        assert session.attempt(line) in (0, 2)


def test_what_the_worker_calls_a_bug_is_one(shell: Shell) -> None:
    shell.client.answers = [ending_with(lambda run_id: Failed(run_id, "bug", "KeyError: 'x'"))]
    shell.say("load FluxDev")
    assert shell.code("run") == EXIT_BUG


def test_problems_that_the_worker_found_keep_their_positions(shell: Shell) -> None:
    problems = (Problem("a.json", 1, 2, "x"), Problem("a.json", 3, 4, "y"))
    shell.client.answers = [
        ending_with(lambda run_id: Failed(run_id, "workflow", "2 problems", problems=problems))
    ]
    shell.say("load FluxDev")
    assert shell.code("run") == 3
    assert shell.shown().splitlines()[-3:] == ["error: 2 problems", *map(str, problems)]


def test_exit_leaves_with_its_code(shell: Shell) -> None:
    for line, code in [("exit", None), ("quit", None), ("exit 4", 4)]:
        with pytest.raises(Leave) as caught:
            shell.session.attempt(line)
        assert caught.value.exit_code == code
    assert shell.code("exit 126") == 2


def test_execute_raises_what_attempt_shows(shell: Shell) -> None:
    with pytest.raises(UsageError, match="no workflow is loaded"):
        shell.session.execute("run")


# ------------------------------------------------------------------ what is told


def test_what_was_set_is_told_to_whoever_typed_it(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert shell.say('arg prompt="a fox" steps=3 sharp=yes') == (
        'prompt = "a fox"\nsteps = 3\nsharp = true\n'
    )
    assert shell.say("arg -steps") == "steps = 25 (default)\n"
    assert shell.say("arg reset").splitlines() == [
        'prompt = "a cat" (default)',
        "sharp = false (default)",
    ]
    assert shell.say("config timeout=9 rehearse=on") == "timeout = 9\nrehearse = on\n"


def test_arguments_that_a_load_resets_are_named(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=fox steps=3")
    assert shell.say("load sdxl").splitlines()[-1] == "2 arguments were reset: prompt, steps"
    shell.say("arg prompt=fox steps=3")
    assert shell.say("load sdxl steps=4").splitlines()[-1] == "1 argument was reset: prompt"
    shell.say("arg reset")
    assert "reset" not in shell.say("load FluxDev")


def test_a_missing_file_is_warned_of_once_and_not_when_another_is_named(shell: Shell) -> None:
    step = FLUX["steps"][0]
    pipeline = step["pipeline"] | {"arguments": {"prompt": "a cat", "image": "variable:img"}}
    shell.edit(
        variables=FLUX["variables"] | {"img": "none.png"}, steps=[step | {"pipeline": pipeline}]
    )
    *_, warning = shell.say("load FluxDev").splitlines()
    assert re.fullmatch(
        r"warning: examples/FluxDev\.json:\d+:\d+: there is no file 'none\.png'.*", warning
    )
    Path("good.png").touch()
    assert "warning" not in shell.say("load FluxDev img=good.png")


def test_an_argument_is_found_by_one_of_its_words(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"num_inference_steps": 9})
    shell.say("load FluxDev", "arg -steps")
    assert "(did you mean 'num_inference_steps'?)" in shell.say("run inference=4")


def test_only_what_was_changed_here_is_kept(shell: Shell) -> None:
    file = shell.folder / "xdg_config_home/dw/config.toml"
    shell.session.settings = replace(shell.session.settings, device="cpu")  # by --device
    assert "nothing to keep" in shell.say("config -s")
    assert not file.exists()
    shell.say("config timeout=9")
    assert shell.say("config -s") == f"kept timeout in {file}\n"
    assert file.read_text() == "timeout = 9.0\n"
    shell.say("config device -s")
    assert file.read_text() == 'device = "cpu"\ntimeout = 9.0\n'
    assert shell.code("config devcie -s") == 2


@pytest.mark.parametrize(
    ("kind", "is_told"), [("usage", False), ("workflow", False), ("run", True)]
)
def test_a_trace_is_named_where_it_says_more(shell: Shell, kind: Any, is_told: bool) -> None:
    failed = ending_with(lambda run_id: Failed(run_id, kind, "no", trace="Traceback ..."))
    shell.client.answers = [failed]
    assert ("full trace" in shell.say("load FluxDev", "run")) is is_told


def test_memory_in_a_script_is_separated_by_tabs(scripted: Shell) -> None:
    scripted.say("load FluxDev", "run")
    lines = scripted.say("memory").splitlines()
    assert lines[7].split("\t") == ["component", "class", "dtype", "device", "size", "last used"]
    assert lines[8].split("\t")[0] == "gen.vae"


def test_a_third_interrupt_is_a_yes_and_an_ended_run_a_no(shell: Shell) -> None:
    def ask(_question: str, decided: Callable[[], bool | None]) -> bool:
        assert decided() is None
        signal.raise_signal(signal.SIGINT)
        answer = decided()
        assert answer is not None
        return answer

    session = Session(
        shell.client, shell.session.renderer, Settings(), signals=shell.session.signals, ask=ask
    )
    with session.signals:
        assert session.ask("kill?")
    shell.session._ask = lambda _, decided: bool(decided())
    assert not shell.session.ask("kill?", is_moot=lambda: True)
