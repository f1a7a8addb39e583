"""Crashes, cancels and clocks of a real run on real pipelines."""

from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from dw.worker.client import WorkerClient
from dw.worker.protocol import Cancelled, Died, Finished, Run, Stepped, TimedOut
from tests.acceptance.conftest import Shell

pytestmark = pytest.mark.xdist_group("faults")

LONG = {"num_inference_steps": 400}
TOLD_WITHIN_S = 0.5


def a_run(shell: Shell, **arguments: object) -> Run:
    client, path = shell.session.client, shell.folder / "test.json"
    outputs = str(shell.folder / "outputs")
    text = path.read_text()
    return Run(client.next_id(), str(path), text, arguments, outputs, seed=7, rehearse=True)


def finished(shell: Shell) -> Finished:
    end = shell.session.client.submit(a_run(shell)).result()
    assert isinstance(end, Finished)
    return end


def test_a_worker_that_is_killed_in_mid_run_is_mourned_at_once_and_replaced(
    shell: Shell, client: WorkerClient
):
    killed_at = None
    for event in client.submit(a_run(shell, **LONG)):
        if isinstance(event, Stepped) and killed_at is None:
            killed_at = time.monotonic()
            os.kill(client.status().pid, signal.SIGKILL)
    assert time.monotonic() - killed_at < TOLD_WITHIN_S
    assert isinstance(event, Died)
    assert event.cause == "killed by signal 9 (SIGKILL)"
    assert event.last_step.startswith("step draw, denoise ")
    assert finished(shell).outputs


def test_the_shell_tells_the_cause_and_the_next_run_works(shell: Shell, client: WorkerClient):
    shell("load test")
    shell("run")
    threading.Timer(0.3, os.kill, (shell.pid, signal.SIGKILL)).start()
    shown = "\n".join(shell("run num_inference_steps=2000"))
    assert shell.code == 4
    assert "killed by signal 9 (SIGKILL)" in shown
    assert "step draw" in shown
    assert "Models loaded for workflow: test" in shell("run")


def test_a_picture_after_a_cancel_equals_one_before_it(shell: Shell, client: WorkerClient):
    before = finished(shell)
    for _ in range(3):
        run = a_run(shell, **LONG)
        for event in client.submit(run):
            if isinstance(event, Stepped) and event.done > 2:
                client.cancel(run.run_id)
        assert isinstance(event, Cancelled)
        assert 2 < event.step < 400
        assert finished(shell).outputs[0].sha256 == before.outputs[0].sha256


def test_a_timeout_is_polite_and_keeps_the_models(shell: Shell, client: WorkerClient):
    finished(shell)
    end = client.submit(a_run(shell, num_inference_steps=5000), timeout_s=0.5).result()
    assert isinstance(end, TimedOut)
    assert (end.clock, end.keeps_models) == ("deadline", True)
    shell("load test")
    assert "Reusing loaded models from cache" in shell("run")


def test_the_timeout_of_a_run_is_an_option_and_has_its_exit_code(shell: Shell):
    shell("load test")
    shell("run")
    shown = "\n".join(shell("run --timeout 0.5 num_inference_steps=5000"))
    assert shell.code == 6
    assert "the models are kept" in shown


def test_a_cancelled_run_leaves_no_half_written_file(shell: Shell, client: WorkerClient):
    run = a_run(shell, **LONG)
    for event in client.submit(run):
        if isinstance(event, Stepped):
            client.cancel(run.run_id)
    assert shell.outputs() == []
