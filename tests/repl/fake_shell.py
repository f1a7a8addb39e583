"""The shell as a process of its own, on a fake worker: `python -m tests.repl.fake_shell HOW ...`.

HOW is what becomes of its runs, a key of the table below; the rest is the command line of `dw`, or
after RUN that of `dw.run`.
"""

from __future__ import annotations

import io
import sys
from base64 import b64encode
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from dw import run
from dw.events import Died, Event, Executing, Failed, Preview, Run, RunTimedOut, Stepped
from dw.repl import app
from dw.settings import Settings
from tests.repl.fake import Answer, FakeClient, ending_with, load, succeed


def hang(client: FakeClient, run: Run) -> Iterator[Event]:
    """Until it is cancelled; the file tells a test that it is time."""
    yield from load(client, run)
    yield Executing(run.run_id, "FluxDev")
    Path("hangs").touch()


def preview(client: FakeClient, run: Run) -> Iterator[Event]:
    """Shows one preview, if it was asked to, and then hangs."""
    yield from load(client, run)
    yield Executing(run.run_id, "FluxDev")
    yield Stepped(run.run_id, "gen", "denoise", 1, 4)
    if run.preview_s is not None:
        yield Preview(run.run_id, "gen", 1, 4, 16, 16, RED)
    yield Stepped(run.run_id, "gen", "denoise", 2, 4)
    Path("hangs").touch()


def _red() -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (16, 16), (200, 0, 0)).save(buffer, "PNG")
    return b64encode(buffer.getvalue()).decode()


RED = _red()
"""A preview of 16 x 16 pixels."""

HOW: dict[str, Answer] = {
    "succeeds": succeed,
    "fails": ending_with(lambda n: Failed(n, "run", "width 63", "step 'gen'", trace="Traceback")),
    "dies": ending_with(lambda n: Died(n, "signal", "killed by signal 9 (SIGKILL)", 7)),
    "times_out": ending_with(lambda n: RunTimedOut(n, "deadline", 5.0, keeps_models=True)),
    "no_memory": ending_with(lambda n: Failed(n, "resources", "out of GPU memory")),
    "hangs": hang,
    "ignores": hang,
    "previews": preview,
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
