"""Crashes, cancels and clocks of a real run on real pipelines."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from dw import run_record
from dw.events import Died, Finished, Launched, RunCancelled, RunTimedOut
from dw.rehearsal import stand_in
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient
from tests.acceptance.conftest import Shell, a_run, denoised, write_examples
from tests.processes import assert_gone
from tests.repl.screen import Screen

LONG = {"num_inference_steps": 400}
TOLD_WITHIN_S = 0.5


def finished(shell: Shell) -> Finished:
    end = shell.session.client.submit(a_run(shell)).result()
    assert isinstance(end, Finished)
    return end


def test_a_worker_that_is_killed_in_mid_run_is_reported_at_once_and_replaced(
    shell: Shell, client: LocalWorkerClient
):
    killed_at = None
    for event in client.submit(a_run(shell, **LONG)):
        if denoised(event) and killed_at is None:
            killed_at = time.monotonic()
            os.kill(client.status().pid, signal.SIGKILL)
    assert time.monotonic() - killed_at < TOLD_WITHIN_S
    assert isinstance(event, Died)
    assert event.cause == "killed by signal 9 (SIGKILL)"
    assert event.last_step.startswith("draw: denoise step ")
    assert finished(shell).outputs
    lost, done = [json.loads(path.read_text()) for path in sorted(shell.folder.rglob("run.json"))]
    assert (lost["state"], done["state"]) == ("died", "finished")
    assert (lost["cause"], lost["last_step"]) == (event.cause, event.last_step)
    assert (lost["seed"], lost["arguments"]) == (7, LONG)


def test_the_shell_tells_the_cause_and_the_next_run_works(shell: Shell, client: LocalWorkerClient):
    shell("load test")
    shell("run")
    threading.Timer(0.3, os.kill, (shell.pid, signal.SIGKILL)).start()
    shown = "\n".join(shell("run num_inference_steps=2000"))
    assert shell.code == 4
    assert "killed by signal 9 (SIGKILL)" in shown
    assert "last step: draw: denoise step" in shown
    assert "retry" in shown
    assert "Models loaded for workflow: test" in shell("run")
    [_, died] = shell("history died")
    assert "killed by signal 9 (SIGKILL)" in died


def test_weights_that_are_cut_in_mid_run_are_named(
    shell: Shell, client: LocalWorkerClient, stand_ins: Path
):
    model = Path(shutil.copytree(stand_in("StableDiffusionPipeline", ""), shell.folder / "model"))
    unet = model / "unet" / "diffusion_pytorch_model.safetensors"
    size = unet.stat().st_size
    document = shell.document("test")
    document["steps"][0]["pipeline"]["from_pretrained_arguments"] = {"model_name": str(model)}
    run = replace(a_run(shell, **LONG), text=json.dumps(document), rehearse=False)
    for event in client.submit(run):
        if denoised(event):
            os.truncate(unet, 0)
    assert isinstance(event, Died)
    assert event.cause.endswith(
        f"(SIGBUS): {str(unet)!r} was cut from {size} to 0 bytes while it was in use"
    )
    [record] = [json.loads(path.read_text()) for path in shell.folder.rglob("run.json")]
    assert (record["state"], record["cause"]) == ("died", event.cause)
    assert finished(shell).outputs


def test_an_image_after_a_cancel_equals_one_before_it(shell: Shell, client: LocalWorkerClient):
    before = finished(shell)
    for _ in range(3):
        run = a_run(shell, **LONG)
        for event in client.submit(run):
            if denoised(event, 3):
                client.cancel(run.run_id)
        assert isinstance(event, RunCancelled)
        assert 2 < event.step < 400
        assert finished(shell).outputs[0].sha256 == before.outputs[0].sha256


def test_a_timeout_is_polite_and_keeps_the_models(shell: Shell, client: LocalWorkerClient):
    finished(shell)
    end = client.submit(a_run(shell, num_inference_steps=5000), timeout_s=0.5).result()
    assert isinstance(end, RunTimedOut)
    assert (end.clock, end.keeps_models) == ("deadline", True)
    cause = run_record.past(shell.folder / "outputs")[-1].facts["cause"]
    assert re.fullmatch(
        r"cancelled after step \d+ of 5000: not done after 0.5 s \(timeout\)", cause
    )
    shell("load test")
    assert "Reusing loaded models from cache" in shell("run")


def test_the_timeout_of_a_run_is_an_option_and_has_its_exit_code(shell: Shell):
    shell("load test")
    shell("run")
    shown = "\n".join(shell("run --timeout 0.5 num_inference_steps=5000"))
    assert shell.code == 6
    assert "the models are kept" in shown


def test_a_cancelled_run_leaves_no_half_written_file(shell: Shell, client: LocalWorkerClient):
    run = a_run(shell, **LONG)
    for event in client.submit(run):
        if denoised(event):
            client.cancel(run.run_id)
    [folder] = shell.folder.glob("outputs/test/*")
    assert os.listdir(folder) == ["run.json"]


def test_the_standby_serves_the_run_after_a_timeout_that_was_ignored(shell: Shell):
    """The worker is stopped in mid-run, so that it hears no request."""
    client = LocalWorkerClient(Settings(standby=True, grace=0.5))
    try:
        standby = serving_standby(client)
        run = a_run(shell, **LONG)
        for event in client.submit(run, timeout_s=2.0):
            if denoised(event, 3):
                os.kill(client.status().pid, signal.SIGSTOP)
        assert isinstance(event, RunTimedOut)
        assert (event.clock, event.keeps_models) == ("deadline", False)
        assert (next_standby := serving_standby(client)) != standby
        began = time.monotonic()
        events = list(client.submit(a_run(shell)))
        launched = next(event for event in events if isinstance(event, Launched))
        assert (launched.pid, launched.from_standby) == (next_standby, True)
        assert isinstance(events[-1], Finished)
        assert time.monotonic() - began < 5.0
    finally:
        client.close()


def serving_standby(client: LocalWorkerClient) -> int:
    """The process of the standby, once its imports are done: it beats."""
    while client.status().standby_rss is None:
        time.sleep(0.05)
    return client.status().standby_pid


def test_where_tells_the_step_and_the_place(shell: Shell, client: LocalWorkerClient):
    lines = [
        client.where().line
        for event in client.submit(a_run(shell, **LONG))
        if denoised(event, 1) and event.done < 200
    ]
    assert all(line.startswith("draw: denoise step ") for line in lines)
    assert any(", in " in line for line in lines)


def test_a_stop_keeps_the_image_and_the_next_one_is_as_ever(
    shell: Shell, client: LocalWorkerClient
):
    before = finished(shell)
    run = a_run(shell, **LONG)
    for event in client.submit(run):
        if denoised(event, 3):
            client.stop_run(run.run_id)
        if denoised(event):
            done = event.done
    assert isinstance(event, Finished)
    assert 3 <= done < 400
    assert Path(event.outputs[0].path).is_file()
    assert finished(shell).outputs[0].sha256 == before.outputs[0].sha256


def test_s_at_the_terminal_stops_a_run_and_retry_runs_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("config", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    write_examples(tmp_path)
    repl = (sys.executable, "-m", "dw.repl", "--rehearse")
    with Screen(repl, DW_WORKFLOW_DIR=".", DW_STANDBY="off") as screen:
        screen.wait_for("dw>")
        screen.type("load test\r")
        screen.wait_for("num_inference_steps")
        screen.type("run num_inference_steps=5000\r")
        screen.wait_for("s ends the denoising early and keeps the image")
        screen.wait_for("/5000")
        screen.type("s")
        screen.wait_for("Stopping: the denoising ends with this step, about 0.")
        screen.wait_for("Workflow completed successfully")
        screen.wait_for("stopped early")
        screen.type("retry\r")
        screen.wait_for("Reusing loaded models from cache")
        screen.wait_for("/5000")
        screen.type("s")
        screen.wait_for("Workflow completed successfully", count=2)
        screen.type("exit\r")
        assert screen.wait() == 0
        assert screen.is_as_it_was
    assert len(list(tmp_path.glob("outputs/*/*/*.png"))) == 2


@pytest.mark.parametrize("end", ["all at once", "hangup", "loading"])
def test_a_real_run_is_cancelled_when_its_program_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
):
    monkeypatch.chdir(tmp_path)
    for name in ("config", "state"):
        monkeypatch.setenv(f"XDG_{name.upper()}_HOME", str(tmp_path / name))
    write_examples(tmp_path)
    run = ("-m", "dw.run", "test", "num_inference_steps=5000", "--rehearse")
    with Screen((sys.executable, *run), DW_WORKFLOW_DIR=".", DW_STANDBY="off") as screen:
        screen.wait_for("Running workflow" if end == "loading" else "/5000")
        shell = psutil.Process(screen.process.pid)
        processes = shell.children(recursive=True)
        if end == "hangup":
            screen.hang_up()
            assert screen.process.wait(30) == -signal.SIGHUP
        else:  # as a service does: with all of its processes
            for process in [shell, *processes] if end == "all at once" else [shell]:
                process.send_signal(signal.SIGTERM)
            assert screen.wait() == -signal.SIGTERM
            assert screen.is_as_it_was
        assert_gone(processes)
    [past] = run_record.past(tmp_path / "outputs")
    assert past.state == "cancelled"
    cause = "the terminal was closed" if end == "hangup" else "the program was told to end"
    assert re.search(rf"cancelled after step \d+ of \d+: {cause}", past.facts["cause"])
