"""The script contract, as its caller sees it: standard output, standard error, exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
Dw = Callable[..., subprocess.CompletedProcess[str]]
LOADED = ("-c", "load FluxDev")


def start(how: str, *arguments: str, **options: object) -> subprocess.Popen[str]:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.repl.fake_shell", how, *arguments],
        text=True,
        env=os.environ | {"PYTHONPATH": ROOT},
        **(pipes | options),  # type: ignore[call-overload]
    )


@pytest.fixture
def dw(folder: Path) -> Dw:
    def run(how: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        process = start(how, *arguments)
        out, err = process.communicate(stdin, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)

    return run


def test_results_and_progress_go_to_different_streams(dw: Dw) -> None:
    done = dw("succeeds", *LOADED, "-c", "run", "-c", "arg steps")
    assert done.returncode == 0
    assert done.stdout == "outputs/1.png\n25\n"
    assert "Workflow completed successfully\n" in done.stderr


def test_standard_input_is_a_script_when_it_is_no_terminal(dw: Dw) -> None:
    done = dw("succeeds", stdin="load FluxDev\narg steps=3\narg steps\nexit\n")
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert done.stderr.endswith("Goodbye!\n")


def test_an_empty_standard_input_is_an_empty_script(dw: Dw) -> None:
    done = dw("succeeds")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_closed_standard_input_is_an_error_of_usage(folder: Path) -> None:
    close = f"exec {sys.executable} -m tests.repl.fake_shell succeeds <&-"
    done = subprocess.run(
        ["sh", "-c", close], env=os.environ | {"PYTHONPATH": ROOT}, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (
        2,
        "error: cannot read -: standard input is closed\n",
    )


@pytest.mark.parametrize(
    ("how", "commands", "code"),
    [
        ("succeeds", ["load FluxDev", "run"], 0),
        ("fails", ["load FluxDev", "run"], 1),
        ("succeeds", ["load FluxDev", "arg stpes=3"], 2),
        ("succeeds", ["load FluxDev", "run steps=abc"], 2),
        ("succeeds", ["load nothing"], 2),
        ("succeeds", ["source nothing.dw"], 2),
        ("succeeds", ["load broken"], 3),
        ("dies", ["load FluxDev", "run"], 4),
        ("no_memory", ["load FluxDev", "run"], 5),
        ("times_out", ["load FluxDev", "run"], 6),
        ("succeeds", ["exit 7", "load nothing"], 7),
    ],
)
def test_the_exit_code_says_what_failed(dw: Dw, how: str, commands: list[str], code: int) -> None:
    Path("examples/broken.json").write_text("{")
    arguments = [word for each in commands for word in ("-c", each)]
    assert dw(how, *arguments).returncode == code


def test_a_script_stops_at_its_first_failure(dw: Dw) -> None:
    Path("a.dw").write_text("load FluxDev\narg stpes=3\nrun\n")
    done = dw("succeeds", "--script", "a.dw")
    assert (done.returncode, done.stdout) == (2, "")
    error = "a.dw:2: error: FluxDev has no argument 'stpes' (did you mean 'steps'?)"
    assert error in done.stderr.splitlines()


def test_keep_going_ends_with_the_first_failures_code(dw: Dw) -> None:
    done = dw("fails", "-k", *LOADED, "-c", "run", "-c", "arg stpes=1", "-c", "arg steps")
    assert (done.returncode, done.stdout) == (1, "25\n")
    assert dw("fails", "-k", *LOADED, "-c", "run", "-c", "exit").returncode == 1


def test_try_goes_on(dw: Dw) -> None:
    done = dw("fails", *LOADED, "-c", "try run\nlet code=${status}\nlet")
    assert (done.returncode, done.stdout) == (0, "variable\tvalue\ncode\t1\n")
    assert "<command 2>:1: error: step 'gen': width 63" in done.stderr


def test_a_script_is_checked_whole_before_its_first_line(dw: Dw) -> None:
    Path("a.dw").write_text('load FluxDev\nrnu\narg prompt="x\nload\n')
    done = dw("succeeds", "-c", "bogus", "--script", "a.dw")
    assert (done.returncode, done.stdout) == (2, "")
    assert [line for line in done.stderr.splitlines() if "error" in line] == [
        "<command>:1: error: unknown command 'bogus'",
        "a.dw:2: error: unknown command 'rnu' (did you mean 'run'?)",
        'a.dw:3: error: this " is never closed (column 12)',
        "a.dw:4: error: load needs NAME",
    ]


def test_commands_and_scripts_keep_their_order(dw: Dw) -> None:
    Path("a.dw").write_bytes(b"\xef\xbb\xbf#!/usr/bin/env dw\r\narg steps=2\r\narg steps\r\n")
    done = dw("succeeds", *LOADED, "--script", "a.dw", "-c", "arg steps=3\narg steps")
    assert (done.returncode, done.stdout) == (0, "2\n3\n")


def test_the_command_line_names_a_workflow_and_its_arguments(dw: Dw) -> None:
    done = dw(
        "succeeds",
        "FluxDev",
        "--set",
        "steps=9",
        "-c",
        "arg steps\narg prompt=${steps}\narg prompt",
    )
    assert (done.returncode, done.stdout) == (0, "9\n9\n")
    assert dw("succeeds", "FluxDev", "--set", "stpes=9", "-c", "run").returncode == 2


def test_a_text_of_a_file_is_the_argument_and_the_variable(dw: Dw) -> None:
    Path("fox.txt").write_text("a red fox\n")
    done = dw(
        "succeeds", "FluxDev", "--set", "prompt=@fox.txt", "-c", "arg prompt\nlet x=${prompt}\nlet"
    )
    assert done.stdout == "a red fox\nvariable\tvalue\nprompt\ta red fox\nx\ta red fox\n"
    assert dw("succeeds", "--set", "prompt=@nothing.txt", "-c", "let").returncode == 2


def test_a_script_is_silent_about_what_it_sets(dw: Dw) -> None:
    done = dw("succeeds", "-q", *LOADED, "-c", "arg steps=3\narg -steps\nconfig timeout=9")
    assert (done.stdout, done.stderr) == ("", "")


def test_variables_carry_results_from_run_to_run(dw: Dw) -> None:
    done = dw(
        "succeeds", *LOADED, "-c", "run seed=7\narg prompt=${run.output} seed=${run.seed}\narg seed"
    )
    assert done.stdout == "outputs/1.png\n7\n"


def test_echo_and_quiet(dw: Dw) -> None:
    done = dw("succeeds", "-q", "--echo", *LOADED, "-c", "run")
    assert (done.stdout, done.stderr) == ("outputs/1.png\n", "dw> load FluxDev\ndw> run\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--nonsense"],
        ["--timeout", "soon"],
        ["--set", "steps"],
        ["--json", "-i"],
        ["-i", "-c", "help"],
        ["--script", "nothing.dw"],
        ["--color", "sometimes"],
    ],
)
def test_a_wrong_command_line_is_usage(dw: Dw, arguments: list[str]) -> None:
    done = dw("succeeds", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert "error: " in done.stderr


def test_json_is_one_object_a_line_and_nothing_else(dw: Dw) -> None:
    done = dw("succeeds", "--json", *LOADED, "-c", "run", "-c", "arg steps", "-c", "arg")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert names[0] == "session.start"
    assert names[-1] == "session.end"
    assert events[-1]["exit"] == done.returncode == 0
    assert done.stderr == ""
    assert all(isinstance(event["time"], float) for event in events)
    run = names[names.index("Launching") :]
    assert run[:5] == ["Launching", "Launched", "Started", "Planned", "Loading"]
    assert events[names.index("Produced")]["output"]["width"] == 64
    assert events[names.index("result")]["text"] == "25"
    assert {"argument": "steps", "type": "integer", "value": "25", "default": "25"} in events[-2][
        "rows"
    ]


def test_json_errors_have_their_position_and_code(dw: Dw) -> None:
    Path("examples/broken.json").write_text('{"id": "x",\n "steps": [}')
    done = dw("succeeds", "--json", "-c", "load broken")
    error = next(e for e in map(json.loads, done.stdout.splitlines()) if e["event"] == "error")
    assert (error["exit"], error["at"], error["kind"]) == (3, "<command>:1", "WorkflowError")
    assert error["problems"][0]["path"] == "examples/broken.json"
    assert (error["problems"][0]["line"], error["problems"][0]["column"]) == (2, 12)
    assert done.stderr.startswith("<command>:1: error: ")


# ------------------------------------------------------------------ one run without a script


def test_run_needs_only_a_workflow(dw: Dw) -> None:
    done = dw("succeeds", "RUN")
    assert "the following arguments are required: WORKFLOW\n" in done.stderr


def test_run_runs_one_workflow(dw: Dw) -> None:
    done = dw("succeeds", "RUN", "FluxDev", "steps=3", 'prompt=a "red" fox, it\'s', "seed=5")
    assert (done.returncode, done.stdout) == (0, "outputs/1.png\n")
    assert "Seed: 5\n" in done.stderr
    assert "step gen: FluxPipeline" not in done.stderr, "the summary is for a session"


@pytest.mark.parametrize(
    ("how", "arguments", "code"),
    [
        ("succeeds", ["nothing"], 2),
        ("succeeds", ["FluxDev", "stpes=3"], 2),
        ("succeeds", ["FluxDev", "steps"], 2),
        ("succeeds", [], 2),
        ("fails", ["FluxDev"], 1),
        ("dies", ["--quiet", "FluxDev", "steps=3"], 4),
    ],
)
def test_run_has_the_same_exit_codes(dw: Dw, how: str, arguments: list[str], code: int) -> None:
    assert dw(how, "RUN", *arguments).returncode == code


def test_run_names_its_own_options_and_no_command_of_the_shell(dw: Dw) -> None:
    done = dw("times_out", "RUN", "FluxDev")
    assert done.stderr.endswith("  --timeout 10; DW_TIMEOUT=SECONDS   for every run\n")
    assert dw("fails", "RUN", "FluxDev").stderr.endswith("full trace: --traceback\n")
    unknown = dw("succeeds", "RUN", "FluxDev", "stpes=3").stderr
    assert "its arguments are prompt, steps" in unknown


def test_run_shows_a_traceback_on_request(dw: Dw) -> None:
    done = dw("fails", "RUN", "--traceback", "--json", "FluxDev")
    assert done.stderr == "error: step 'gen': width 63\nTraceback\n"
    assert "Traceback" in dw("fails", "RUN", "--traceback", "--quiet", "FluxDev").stderr


# ------------------------------------------------------------------ signals


def wait_for(path: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not Path(path).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_run_and_ends_the_process_by_itself(
    folder: Path, number: signal.Signals
) -> None:
    process = start("hangs", "--json", *LOADED, "-c", "run", "-c", "memory")
    wait_for("hangs", process)
    process.send_signal(number)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -number
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in events[-3:]] == [
        "CancelRequested",
        "Cancelled",
        "session.end",
    ]
    assert events[-1]["exit"] == 128 + number


@pytest.mark.parametrize("words", [("RUN", "FluxDev"), ("FluxDev", "-c", "run")])
def test_a_cancel_in_a_program_that_ends_does_not_speak_of_models(
    folder: Path, words: tuple[str, ...]
) -> None:
    process = start("hangs", *words)
    wait_for("hangs", process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert err.splitlines()[-2:] == [
        "Cancelling: stops at the next step. Ctrl-C again ends it at once",
        "cancelled at step 2 of 4",
    ]


def test_a_second_signal_kills_the_worker(folder: Path) -> None:
    process = start("ignores", *LOADED, "-c", "run", "-c", "memory")
    wait_for("hangs", process)
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "Cancelling" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT


def test_a_closed_output_ends_it_quietly(folder: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    process = start("succeeds", *LOADED, "-c", "arg", "-c", "arg", stdout=write)
    os.close(write)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert "Traceback" not in err
    assert "BrokenPipe" not in err


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_full_disk_is_said(folder: Path, options: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with open("/dev/full", "w") as full:
        process = start("succeeds", *options, *LOADED, "-c", "arg", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 5
    assert "cannot write the output: No space left on device" in err
    assert "Traceback" not in err
