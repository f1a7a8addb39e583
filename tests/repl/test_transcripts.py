"""The lines of the acceptance checklist, word for word and in their order."""

from __future__ import annotations

import re
from typing import Any

import pytest

from dw.events import Died, Failed, Planned, RunTimedOut
from dw.worker.handle import INTERRUPTED
from tests.repl.conftest import Shell
from tests.repl.fake import PARTS, ending_with, execute, pressing

BLOCK = """\
GPU Memory Status:
  Device: Test GPU
  Allocated: 3.0 MB
  Reserved: 4.0 MB
  Free: 20.0 MB
  Total: 24.0 MB
  Runs in this session: {runs}
"""


def without_progress(text: str) -> str:
    """The transcript without what may stand between its lines."""
    extra = re.compile(r"^(  (loading|step|gen:) .*|Seed: .*|outputs/.*)\n", re.M)
    return extra.sub("", text)


def test_the_first_run(shell: Shell) -> None:
    shell.say("load FluxDev")
    assert without_progress(shell.say("run")) == (
        "Starting worker process...\n"
        "Worker process started\n"
        "Running workflow: FluxDev\n"
        "Workflow file changed - reloading models...\n"
        "Loading workflow from examples/FluxDev.json\n"
        "Models loaded for workflow: FluxDev\n"
        "Executing workflow: FluxDev\n"
        + BLOCK.format(runs=1)
        + "Workflow completed successfully\n"
        + "(Workflow has been executed 1 time(s) in this session)\n"
        + "1.5 s (loading 1.0 s)\n"
    )


def test_a_cached_run(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    assert without_progress(shell.say("run")) == (
        "Running workflow: FluxDev\n"
        "Reusing loaded models from cache\n"
        "Executing workflow: FluxDev\n"
        + BLOCK.format(runs=2)
        + "Workflow completed successfully\n"
        + "(Workflow has been executed 2 time(s) in this session)\n"
        + "0.5 s (loading 0.0 s)\n"
    )


def test_a_run_of_a_changed_file_says_what_was_kept(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    shell.edit(description="another")
    assert without_progress(shell.say("run")).splitlines()[:6] == [
        "Running workflow: FluxDev",
        "Workflow file changed - reloading models...",
        "Loading workflow from examples/FluxDev.json",
        "Kept 4 of 5 components (vae, text_encoder, tokenizer, unet); reloading: scheduler",
        "Models loaded for workflow: FluxDev",
        "Executing workflow: FluxDev",
    ]


def test_progress_and_our_own_lines_stand_between(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    assert shell.say("run seed=7").splitlines()[:9] == [
        "Running workflow: FluxDev",
        "Seed: 7",
        "Reusing loaded models from cache",
        "Executing workflow: FluxDev",
        "  step 1 of 1: gen",
        "  gen: denoise 1/4 (25 %)",
        "  gen: denoise 2/4 (50 %)",
        "  gen: denoise 3/4 (75 %)",
        "  gen: denoise 4/4 (100 %)",
    ]


def test_a_run_whose_arguments_need_other_components(shell: Shell) -> None:
    def answer(client, run):  # type: ignore[no-untyped-def]
        yield Planned(run.run_id, "arguments", PARTS[:4], PARTS[4:], ("gen.lora",))
        yield from execute(run)
        yield Failed(run.run_id, "run", "enough")

    shell.client.answers = [answer]
    lines = shell.say("load FluxDev", "run").splitlines()
    assert (
        "Kept 4 of 5 components (vae, text_encoder, tokenizer, unet); reloading: scheduler;"
        " dropped: lora" in lines
    )
    assert not any("file changed" in line for line in lines)


def test_memory(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    text = shell.say("memory")
    assert text.startswith(BLOCK.format(runs=1))
    rows = text.removeprefix(BLOCK.format(runs=1)).splitlines()
    assert rows[0].split("  ")[1] == "component"
    assert rows[1].split()[:6] == ["gen.vae", "Class", "float32", "cpu", "1.0", "MB"]


def test_clear(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    assert shell.say("clear") == (
        "Clearing GPU memory...\n"
        + BLOCK.format(runs=0)
        + "GPU memory cleared successfully\n"
        + "Freed 3.0 MB; nothing is left\n"
    )


def test_clear_hard_replaces_the_process(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    assert shell.say("clear --hard").splitlines() == [
        "Clearing GPU memory...",
        "Shutting down worker process...",
        "GPU memory cleared successfully",
    ]
    assert "Starting worker process..." in shell.say("run")


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("memory", "No worker is running, so nothing is loaded\n"),
        ("clear", "No worker is running, so there is nothing to clear\n"),
        ("run", "error: no workflow is loaded\n  load NAME\n"),
    ],
)
def test_without_a_worker_or_a_workflow_one_line_says_so(
    shell: Shell, line: str, answer: str
) -> None:
    assert shell.say(line) == answer
    assert shell.client.commands == []


def test_switching_shuts_the_worker_down(shell: Shell) -> None:
    for name in ("sdxl", "FluxDev"):
        shell.say("load FluxDev", "load sdxl") if name == "FluxDev" else shell.say("load FluxDev")
        shell.say("run")
        lines = shell.say(f"load {name}").splitlines()
        assert lines[0] == "Shutting down worker process..."
        assert not shell.client.has_worker
        assert "Starting worker process..." in shell.say("run")


def test_loading_the_same_workflow_again_keeps_the_worker(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    assert "Shutting down" not in shell.say("load FluxDev", "load ./examples/FluxDev.json")
    assert "Reusing loaded models from cache" in shell.say("run")


def test_goodbye(shell: Shell) -> None:
    shell.say("load FluxDev", "run")
    shell.session.goodbye()
    assert shell.shown() == "Shutting down worker process...\nGoodbye!\n"
    assert shell.client.is_closed


def test_goodbye_without_a_worker(shell: Shell) -> None:
    shell.session.goodbye()
    assert shell.shown() == "Goodbye!\n"


def test_a_failed_run_says_what_where_and_what_to_try(shell: Shell) -> None:
    failed = ending_with(
        lambda run_id: Failed(
            run_id,
            "run",
            "height and width have to be divisible by 8 but are 64 and 63",
            where="step 'gen', denoise",
            hints=("arg width=64",),
            trace="Traceback ...",
        )
    )
    shell.say("load FluxDev")
    shell.client.answers = [failed]
    assert shell.say("run").splitlines()[-3:] == [
        "error: step 'gen', denoise: height and width have to be divisible by 8 but are 64 and 63",
        "  arg width=64",
        "full trace: trace 1",
    ]
    assert shell.say("trace 1") == shell.say("trace") == "Traceback ...\n"
    assert "Reusing loaded models from cache" in shell.say("run")


CRASH = """\
Fatal Python error: Segmentation fault

Current thread 0x1 (most recent call first):
  File "/a/inner.py", line 1 in inner
  File "/a/outer.py", line 2 in outer
"""


@pytest.mark.parametrize(
    ("died", "panel"),
    [
        (
            {"kind": "signal", "cause": "killed by signal 11 (SIGSEGV)", "stack": CRASH,
             "last_step": "gen: denoise step 3/4", "tail": ("one", "two", "three")},
            ["error: the worker died: killed by signal 11 (SIGSEGV)",
             "  last step: gen: denoise step 3/4",
             "  crashed in: inner (inner.py:1), from outer (outer.py:2)",
             "  | two",
             "  | three",
             "  retry   repeats the last run, on a new worker",
             "full trace: trace 1"],
        ),
        (
            {"kind": "killed", "cause": "it did not stop within 10 s of being asked",
             "stack": "Thread 0x1", "stuck_at": "gen: denoise step 3/4, in attention",
             "last_step": "gen: denoise step 3/4"},
            ["error: the worker is gone: it did not stop within 10 s of being asked",
             "  stuck at: gen: denoise step 3/4, in attention",
             "  retry   repeats the last run, on a new worker",
             "full trace: trace 1"],
        ),
        (
            {"kind": "oom-killer", "cause": "killed by the kernel's OOM-killer",
             "last_step": "loading gen.unet (2 of 5)"},
            ["error: the worker died: killed by the kernel's OOM-killer",
             "  last step: loading gen.unet (2 of 5)",
             '  a cheaper placement needs less: "offload": "model" in the workflow'],
        ),
        (
            {"kind": "cut-file", "cause": "killed by signal 7 (SIGBUS): 'a' was cut from 9 to 3 "
             "bytes while it was in use", "last_step": "gen: denoise step 3/4"},
            ["error: the worker died: killed by signal 7 (SIGBUS): 'a' was cut from 9 to 3 bytes "
             "while it was in use",
             "  last step: gen: denoise step 3/4",
             "  put the file right and run again; a new one is renamed into the place of one in "
             "use, not written over it"],
        ),
        (
            {"kind": "boot", "cause": "exited with code 1 before it was ready",
             "tail": ("ImportError: libcudart.so.13",)},
            ["error: the worker could not start: exited with code 1 before it was ready",
             "  | ImportError: libcudart.so.13",
             "  trace   shows its last lines",
             "full trace: trace 1"],
        ),
        (
            {"kind": "poisoned", "cause": "its CUDA context is beyond repair"},
            ["error: the worker died: its CUDA context is beyond repair",
             "  retry   repeats the last run, on a new worker"],
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)  # fmt: skip
def test_a_death_is_a_handful_of_lines(shell: Shell, died: Any, panel: list[str]) -> None:
    shell.client.answers = [ending_with(lambda run_id: Died(run_id, pid=7, **died))]
    assert shell.say("load FluxDev", "run").splitlines()[-len(panel) :] == panel


def test_who_was_killed_for_being_late_says_where_it_was_stuck(shell: Shell) -> None:
    late = {"stack": "Thread 0x1", "stuck_at": "gen: denoise step 3/4, in attention"}
    shell.client.answers = [
        ending_with(lambda run_id: RunTimedOut(run_id, "deadline", 5.0, False, **late))
    ]
    assert shell.say("load FluxDev", "run").splitlines()[-4:] == [
        "error: not done after 5 s (timeout); the models are lost",
        "  stuck at: gen: denoise step 3/4, in attention",
        "  retry --timeout 10; config timeout=SECONDS   for every run",
        "full trace: trace 1",
    ]


def test_a_timeout_says_whether_the_models_are_kept(shell: Shell) -> None:
    shell.client.answers = [
        ending_with(lambda run_id: RunTimedOut(run_id, "deadline", 5.0, True, "gen: denoise 3/4"))
    ]
    assert shell.say("load FluxDev", "run").splitlines()[-2:] == [
        "error: gen: denoise 3/4: not done after 5 s (timeout); the models are kept",
        "  retry --timeout 10; config timeout=SECONDS   for every run",
    ]


def test_ctrl_c_cancels_and_says_that_the_models_are_kept(shell: Shell) -> None:
    shell.client.answers = [pressing(INTERRUPTED)]
    assert shell.say("load FluxDev", "run").splitlines()[-2:] == [
        "Cancelling: stops at the next step; the models are kept. Ctrl-C again kills the worker",
        "cancelled at step 2 of 4; the models are kept",
    ]
    assert "Reusing loaded models from cache" in shell.say("run")


def test_a_second_ctrl_c_asks_before_it_kills(shell: Shell) -> None:
    shell.client.ignores_cancel = True
    shell.client.answers = [pressing(INTERRUPTED, INTERRUPTED, INTERRUPTED)]
    shell.answers += [False, True]
    assert shell.say("load FluxDev", "run").splitlines()[-2:] == [
        "error: the worker is gone: killed on request",
        "  retry   repeats the last run, on a new worker",
    ]
    assert shell.answers == []
