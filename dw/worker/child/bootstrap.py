"""The bootstrap: a worker's first steps, in an order that matters, before heavy imports.

The spawned child imports this module first, so it must not import torch or anything slow. When
`main` calls `serve`, the process is its own session leader, ends with its parent, writes a stack
when it crashes, and everything it prints is read by the shell.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dw.refusals import refusal

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dw.worker.process.pipes import Inherited

PR_SET_PDEATHSIG = 1  # linux/prctl.h

BLOCKED = {
    number for name in ("SIGINT", "SIGUSR2") if (number := getattr(signal, name, None)) is not None
}
"""The parent blocks these around the spawn; the worker inherits the mask until it has handlers."""

ENVIRONMENT = {
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # less fragmentation when models come and go
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # is_available() must not make a context in the standby
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker needs before it reads its first command.

    `serve` names the function that `main` calls (`module:function`).
    """

    parent_pid: int
    serve: str
    log_level: str = "warning"
    nice: int = 0


def main(
    options: WorkerOptions,
    commands: Connection[object, object],
    events: Connection[object, object],
    output: Inherited,
    stack: Inherited,
) -> None:
    """Become a worker; never returns."""
    # Ctrl-C of the terminal does not reach us, and one killpg ends our children too.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()
    die_with(options.parent_pid)
    # faulthandler's handlers are C code: they run while the GIL is held, and in a crash.
    faulthandler.enable(file=stack.fd, all_threads=True)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, file=stack.fd, all_threads=True)
    _redirect(output.fd)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    if options.nice and hasattr(os, "nice"):
        os.nice(options.nice)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", options.log_level)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", options.log_level)
    gc.disable()  # imported objects are never garbage; `serve` switches it on again
    module, _, function = options.serve.partition(":")
    try:
        serve = getattr(__import__(module, fromlist=[function]), function)
    except Exception as error:  # what no process can start without is told in one line
        if (refused := refusal(error)) is None:
            raise
        print(refused.message, *map(str, refused.hints), sep="; ", file=sys.stderr)  # noqa: T201
        os._exit(1)
    serve(commands, events)
    os._exit(0)


def die_with(parent_pid: int) -> None:
    """On Linux only; elsewhere the end of the command pipe ends us (see server.py)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it ended before the call
            os._exit(1)


def _redirect(output: int) -> None:
    """Descriptors, not only `sys.stdout`: native code and subprocesses write to them as well."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
