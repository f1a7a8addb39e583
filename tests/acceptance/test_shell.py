"""The whole program as its users start it: at a terminal, in a script, and with the plug pulled."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from PIL import Image

from dw import run_record
from tests.acceptance.conftest import EXAMPLES, write_examples
from tests.acceptance.test_checklist import CACHED_RUN, FIRST_RUN, assert_transcript
from tests.processes import assert_gone
from tests.repl.screen import Screen

CTRL_C = "\x03"
REPL = (sys.executable, "-m", "dw.repl", "--rehearse")
WITH_STANDBY = {"DW_WORKFLOW_DIR": "."}
SETTINGS = {**WITH_STANDBY, "DW_STANDBY": "off"}  # its imports take 4 s of a core


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with small workflows in it; nobody's settings or history are touched."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    write_examples(tmp_path)
    return tmp_path


def script(
    *commands: str, options: tuple[str, ...] = (), program: tuple[str, ...] = REPL
) -> subprocess.CompletedProcess[str]:
    words = [word for command in commands for word in ("-c", command)]
    return subprocess.run(
        [*program, *options, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **SETTINGS},
        timeout=90,
    )


def ours(screen: Screen) -> list[psutil.Process]:
    return psutil.Process(screen.process.pid).children(recursive=True)


def test_a_session_at_a_terminal(folder: Path):
    with Screen(REPL, **WITH_STANDBY) as screen:
        screen.wait_for("dw>")
        screen.type("load FluxDev\r")
        screen.wait_for("num_inference_steps")
        screen.type("run\r")
        screen.wait_for("executed 1 time(s)")
        screen.type("run\r")
        screen.wait_for("executed 2 time(s)")
        processes = ours(screen)
        screen.type("exit\r")
        assert screen.wait() == 0
    assert_transcript(screen.text.splitlines(), [*FIRST_RUN, *CACHED_RUN])
    assert screen.text.endswith("Shutting down worker process...\nGoodbye!")
    assert_gone(processes)


def test_ctrl_c_cancels_the_run_and_keeps_the_models(folder: Path):
    with Screen(REPL, **SETTINGS) as screen:
        screen.wait_for("dw>")
        screen.type("load test\r")
        screen.wait_for("num_inference_steps")
        screen.type("run num_inference_steps=5000\r")
        screen.wait_for("Executing workflow: test")
        screen.wait_for("/5000")
        screen.type(CTRL_C)
        screen.wait_for("the models are kept")
        screen.type("run\r")
        screen.wait_for("Reusing loaded models from cache")
        screen.wait_for("Workflow completed successfully")


def test_the_session_in_readme_is_what_is_shown(folder: Path):
    readme = (EXAMPLES.parent / "README.md").read_text(encoding="utf-8")
    session = readme.split("```console\n")[1].split("```")[0].splitlines()
    commands = [line.removeprefix("dw> ") for line in session if line.startswith("dw> ")]
    (folder / "examples").symlink_to(EXAMPLES)
    (folder / "session.dw").write_text("\n".join(commands))
    done = subprocess.run(
        [*REPL, "--echo", "--script", "session.dw"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "DW_STANDBY": "off"},
        timeout=90,
    )
    numberless = [re.sub(r"[0-9.]+", "N", text) for text in (done.stdout, "\n".join(session))]
    shown, expected = (text.splitlines() for text in numberless)
    assert_transcript(shown, [re.escape(line) for line in expected])


def test_leaving_without_a_run(folder: Path):
    done = script("load FluxDev", "exit")
    assert done.returncode == 0
    assert done.stderr.endswith("Goodbye!\n")


def test_a_script_prints_results_on_stdout_and_the_rest_on_stderr(folder: Path):
    done = script("load test", "run", "run")
    assert done.returncode == 0
    images = [folder / line for line in done.stdout.splitlines()[-2:]]
    assert [image.suffix for image in images] == [".png", ".png"]
    assert images[0].read_bytes() == images[1].read_bytes()
    assert "Reusing loaded models from cache" in done.stderr


def test_json_is_the_events_and_nothing_else(folder: Path):
    done = script("load test", "run", options=("--json",))
    events = [json.loads(line) for line in done.stdout.splitlines()]
    names = [event["event"] for event in events]
    assert (names[0], names[-1]) == ("session.start", "session.end")
    assert {"Launching", "Planned", "Loaded", "Stepped", "Produced", "Finished"} <= set(names)
    assert Path(next(e for e in events if e["event"] == "Produced")["output"]["path"]).is_file()


@pytest.mark.parametrize(
    ("commands", "code", "message"),
    [
        (["load nothing"], 2, "nothing"),
        (["load test", "run steps=5"], 2, "steps"),
        (["load broken"], 3, "broken.json:3:"),
        (["load misspelled"], 3, "did you mean 'offload'"),
        (["load unknown_class"], 3, "StableDifusionPipeline"),
        (["load no_folder"], 3, "./models/nothing"),
    ],
)
def test_bad_input_has_one_clear_message_and_its_exit_code(folder: Path, commands, code, message):
    text = (folder / "test.json").read_text()
    broken = {
        "broken": text.replace('"description"', "description"),
        "misspelled": text.replace('"component_type"', '"ofload": "model", "component_type"'),
        "unknown_class": text.replace("StableDiffusionPipeline", "StableDifusionPipeline"),
        "no_folder": text.replace(
            "stable-diffusion-v1-5/stable-diffusion-v1-5", "./models/nothing"
        ),
    }
    for name, content in broken.items():
        (folder / f"{name}.json").write_text(content)
    done = script(*commands, program=REPL[:-1])
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_an_empty_stdin_is_an_empty_script(folder: Path):
    done = subprocess.run(REPL, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, b"")


def test_a_closed_stdout_ends_it_quietly(folder: Path):
    commands = " ".join(f"-c '{c}'" for c in ("load test", "run", "run", "memory", "memory"))
    line = f"{' '.join(REPL)} {commands} | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line],
        capture_output=True,
        text=True,
        env={**os.environ, **SETTINGS},
        timeout=90,
    )
    assert done.stdout.splitlines()[-1] == "141"
    assert "Traceback" not in done.stderr


def test_ctrl_c_in_a_script_cancels_the_run_and_ends_by_sigint(folder: Path):
    process = subprocess.Popen(
        [*REPL, "-c", "load test", "-c", "run num_inference_steps=5000"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **SETTINGS},
    )
    with process:
        for line in process.stderr:
            if "step 1 of 1" in line:
                break
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
    assert process.returncode == -signal.SIGINT
    assert "cancelled" in rest
    assert_gone(children)


@pytest.mark.long  # the next one is killed at the worst moment
def test_a_killed_shell_leaves_no_half_written_image_and_no_process(folder: Path):
    process = subprocess.Popen(
        [*REPL, "-c", "load test", "-c", "run", "-k", *["-c", "run"] * 200],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **SETTINGS},
    )
    with process:
        while not process.stdout.readline().strip().endswith(".png"):
            pass
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    assert_gone(children)
    for image in (folder / "outputs").rglob("*.png"):
        assert image.read_bytes().endswith(b"IEND\xaeB`\x82")


LARGE = {
    "id": "large",
    "steps": [
        {
            "name": "grow",
            "task": {
                "command": "resize_rescale",
                "arguments": {"image": "small.png", "width": 3000, "height": 3000},
            },
            "result": {"content_type": "image/png"},
        }
    ],
}


def test_a_shell_that_is_killed_while_it_saves_leaves_no_half_written_image_but_its_record(
    folder: Path,
):
    Image.effect_noise((64, 64), 90).save(folder / "small.png")
    (folder / "large.json").write_text(json.dumps(LARGE))
    process = subprocess.Popen(
        [*REPL, "-c", "load large", *["-c", "run"] * 50],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **SETTINGS},
    )
    with process:
        while not is_stopped_in_saving(process, folder / "outputs"):
            assert process.poll() is None, "no image was seen half written"
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
    for child in children:
        with contextlib.suppress(psutil.NoSuchProcess):
            child.resume()  # not every kernel ends a stopped process with its parent
    assert_gone(children)
    *finished, killed = run_record.past(folder / "outputs")
    assert killed.state == "lost"
    assert list(killed.folder.rglob("*.png")) == []
    assert {run.state for run in finished} <= {"finished"}


def is_stopped_in_saving(process: subprocess.Popen[bytes], outputs: Path) -> bool:
    """Whether the worker is stopped with an image half written: one that finished the image before
    it was stopped goes on with the next run."""
    if not half_written(outputs):
        return False
    children = psutil.Process(process.pid).children(recursive=True)
    for child in children:
        child.suspend()
    if half_written(outputs):
        return True
    for child in children:
        child.resume()
    return False


def half_written(outputs: Path) -> list[Path]:
    return list(outputs.rglob(f".{'[0-9a-f]' * 16}.part"))
