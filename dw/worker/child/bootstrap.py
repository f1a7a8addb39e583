"""The worker's first acts, in an order that matters, before anything heavy is imported.

The spawned child imports this module first, so it must stay free of torch and of anything slow.
When `main` reaches `serve`, the process is its own session leader, dies with its parent, leaves a
stack behind when it crashes, and everything it prints is read by the shell.
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

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from dw.worker.process.pipes import Inherited

PR_SET_PDEATHSIG = 1  # linux/prctl.h

BLOCKED = {
    number for name in ("SIGINT", "SIGUSR2") if (number := getattr(signal, name, None)) is not None
}
"""The parent blocks these around the spawn, and the mask comes with it, until we can take them."""

ENVIRONMENT = {
    "PYTORCH_ALLOC_CONF": "expandable_segments:True",  # less fragmentation when models come and go
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",  # is_available() must not make a context in the standby
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """What a worker is told before it can be told anything else.

    `serve` is the dotted name of the function that takes over (`module:function`).
    """

    parent_pid: int
    serve: str
    log_level: str = "warning"
    nice: int = 0


def main(
    boot: WorkerOptions,
    commands: Connection[object, object],
    events: Connection[object, object],
    output: Inherited,
    stack: Inherited,
) -> None:
    """Become a worker; never returns."""
    _leave_the_terminal()
    _die_with(boot.parent_pid)
    _leave_a_stack_behind(stack.fd)
    _redirect(output.fd)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, BLOCKED)
    if boot.nice and hasattr(os, "nice"):
        os.nice(boot.nice)
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", boot.log_level)
    os.environ.setdefault("DIFFUSERS_VERBOSITY", boot.log_level)
    gc.disable()  # nothing of what is imported is ever garbage; `serve` switches it on again
    module, _, function = boot.serve.partition(":")
    getattr(__import__(module, fromlist=[function]), function)(commands, events)
    os._exit(0)


def _leave_the_terminal() -> None:
    """No Ctrl-C of the terminal arrives here, and one killpg takes our children along."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(os, "setsid"):
        os.setsid()


def _die_with(parent_pid: int) -> None:
    """Elsewhere than on Linux the end of the command pipe has to tell (see serve.py)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent_pid:  # it died before the signal was asked for
            os._exit(1)


def _leave_a_stack_behind(fd: int) -> None:
    """faulthandler's handlers are C code: they answer while the GIL is held, and in a crash."""
    faulthandler.enable(file=fd, all_threads=True)
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR2, file=fd, all_threads=True)


def _redirect(output: int) -> None:
    """At the level of file descriptors, so that native code and subprocesses are heard too."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(null)
    sys.stdout = open(1, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", 1, "utf-8", "backslashreplace", closefd=False)  # noqa: SIM115
