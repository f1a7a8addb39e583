"""The shell as a process of its own, on a fake worker: `python -m tests.repl.fake_shell HOW ...`.

HOW is what becomes of its runs, a key of the table below; the rest is the command line of `dw`, or
after RUN that of `dw.run`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

from dw import run
from dw.events import Died, Event, Executing, Failed, Run, RunTimedOut
from dw.repl import app
from dw.settings import Settings
from tests.repl.fake import Answer, FakeClient, ending_with, load, succeed


def hang(client: FakeClient, run: Run) -> Iterator[Event]:
    """Until it is cancelled; the file tells a test that it is time."""
    yield from load(client, run)
    yield Executing(run.run_id, "FluxDev")
    Path("hangs").touch()


HOW: dict[str, Answer] = {
    "succeeds": succeed,
    "fails": ending_with(lambda n: Failed(n, "run", "width 63", "step 'gen'", trace="Traceback")),
    "dies": ending_with(lambda n: Died(n, "signal", "killed by signal 9 (SIGKILL)", 7)),
    "times_out": ending_with(lambda n: RunTimedOut(n, "deadline", 5.0, keeps_models=True)),
    "no_memory": ending_with(lambda n: Failed(n, "resources", "out of GPU memory")),
    "hangs": hang,
    "ignores": hang,
}


def connect(settings: Settings) -> FakeClient:
    client = FakeClient(settings)
    client.answers = [HOW[sys.argv[1]]] * 9
    client.ignores_cancel = sys.argv[1] == "ignores"
    return client


if __name__ == "__main__":
    program, arguments = (
        (run.main, sys.argv[3:]) if sys.argv[2:3] == ["RUN"] else (app.main, sys.argv[2:])
    )
    sys.exit(program(arguments, connect))
