"""The init of a container: what PID 1 owes the other processes, when dw is it."""

from __future__ import annotations

import os
import signal
import sys

FORWARDED = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGWINCH")


def become_init() -> None:
    """Return in a child, which goes on as the program. PID 1 hands it its signals, reaps it and
    every orphan that the kernel gives to PID 1, and exits as it does.

    Call it before there are threads. The child must be another process: its workers are waited for
    by those who started them, and a PID 1 that waits for any process would take them away.
    """
    forwarded = {getattr(signal, name) for name in FORWARDED}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*forwarded, signal.SIGCHLD})
    program = os.fork()
    if program == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        received = signal.sigwait({*forwarded, signal.SIGCHLD})
        if received is not signal.SIGCHLD:
            # A terminal has sent it to the program as well, which has the same group.
            if received is not signal.SIGINT or not sys.stdin.isatty():
                os.kill(program, received)
            continue
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
            if pid == 0:
                break
