"""Runs on a real worker with a fault in each tenth: the history has them all, and the shell holds
no more than before.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dw import run_record
from dw.events import Died, Failed, Finished, RunCancelled, Started
from dw.worker.client import LocalWorkerClient
from tests.acceptance.conftest import Shell, a_run, denoised
from tests.processes import footprint, grown

LONG = {"num_inference_steps": 2000}


@dataclass(frozen=True)
class Fate:
    """How a run ends, what its record says, and what is done to it in the midst of denoising."""

    end: type
    state: str
    arguments: dict[str, int] = field(default_factory=dict)
    strike: Callable[[LocalWorkerClient, int], None] | None = None


def kill(client: LocalWorkerClient, _run_id: int) -> None:
    os.kill(client.status().pid, signal.SIGKILL)


def block(client: LocalWorkerClient, run_id: int) -> None:
    """A folder is in the place of the image."""
    (client._handles[run_id].folder / "test-draw.0-0.0.png").mkdir()


GOOD = Fate(Finished, "finished")
FAULTS = [
    Fate(Died, "died", LONG, kill),
    Fate(RunCancelled, "cancelled", LONG, LocalWorkerClient.cancel),
    Fate(Failed, "failed", {"num_inference_steps": 400}, block),
    Fate(Died, "died", LONG, lambda client, _: client.kill()),
]


def fates(count: int) -> list[Fate]:
    """Each kind of fault as often as the others, and a good run after the last."""
    runs = [FAULTS[n // 10 % len(FAULTS)] if n % 10 == 9 else GOOD for n in range(count)]
    return [*runs, GOOD]


def live(
    shell: Shell, fate: Fate, step: int
) -> tuple[Path, Died | Finished | RunCancelled | Failed]:
    """One run to its end; `step` is when its fate strikes. Returns its folder and the end."""
    client, run = shell.session.client, a_run(shell, **fate.arguments)
    handle = client.submit(run)
    started = next(event for event in handle if isinstance(event, Started))
    if fate.strike is not None:
        next(event for event in handle if denoised(event, step))
        fate.strike(client, run.run_id)
    return Path(started.output_dir), handle.result()


@pytest.mark.parametrize(
    "runs",
    [pytest.param(30, marks=pytest.mark.timeout(210)), pytest.param(200, marks=pytest.mark.long)],
)
def test_no_run_is_lost_and_the_shell_stays_as_it_was(
    shell: Shell, client: LocalWorkerClient, runs: int
):
    moments = random.Random(runs)
    live(shell, GOOD, 0)
    before, folders = footprint(), []
    for fate in fates(runs):
        folder, end = live(shell, fate, moments.randint(0, 40))
        record = run_record.read(folder)
        assert (type(end), record["state"]) == (fate.end, fate.state)
        if isinstance(end, Died):
            assert (record["cause"], record["last_step"]) == (end.cause, end.last_step)
        folders.append(folder.name)
    assert folders == [f"{number:04d}" for number in range(2, runs + 3)]
    assert len(list(shell.folder.rglob("run.json"))) == runs + 2
    assert not grown(before)
