"""A program as a process of its own on a worker of tests: `python -m tests.console.program CHILD
PROGRAM ...`, where PROGRAM is `run` or `shell` and the rest is its command line.
"""

from __future__ import annotations

import sys

from dw import run
from dw.repl import app
from dw.settings import Settings
from dw.worker.client import LocalWorkerClient

PROGRAMS = {"run": run.main, "shell": app.main}


def connect(settings: Settings) -> LocalWorkerClient:
    return LocalWorkerClient(settings, serve=f"tests.worker.children.{sys.argv[1]}:serve")


if __name__ == "__main__":
    sys.exit(PROGRAMS[sys.argv[2]](sys.argv[3:], connect))
