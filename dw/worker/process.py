"""One worker process: every call into the operating system is here, and no decision is.

A worker is spawned, never forked: the shell has threads, and CUDA does not survive a fork.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import select
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

from dw.worker import bootstrap
from dw.worker.autopsy import Death, oom_kills
from dw.worker.output import Output

if TYPE_CHECKING:
    from pathlib import Path

    from dw.worker.protocol import Command, Event

WHERE_LIMIT_S = 1.0  # a stack dump takes about a millisecond; a stopped process never answers


class WorkerProcess:
    """A spawned worker with its two pipes, its output, and a file for the stacks it leaves.

    Spawn only from a thread that lives as long as the program: on Linux the worker dies with the
    *thread* that made it.
    """

    def __init__(self, boot: bootstrap.Boot, log_dir: Path) -> None:
        context = multiprocessing.get_context("spawn")
        theirs_commands, self._commands = context.Pipe(duplex=False)
        self.events, theirs_events = context.Pipe(duplex=False)
        output_fd, theirs_output = os.pipe()
        # Without a name: nothing is left in the file system, however we end.
        self._stack = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        children: tuple[Connection[Any, Any], ...] = (
            theirs_commands,
            theirs_events,
            Connection(theirs_output, readable=False),
            Connection(os.dup(self._stack.fileno())),
        )
        self._process = context.Process(target=bootstrap.main, args=(boot, *children), daemon=False)
        self._oom_kills = oom_kills()
        with _without_sigint():
            self._process.start()
        for end in children:
            end.close()  # or the end of the worker's life would never be read
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._pidfd = _pidfd(self.pid)
        self.output = Output(output_fd, log_dir / f"worker-{self.pid}.log")

    @property
    def death_watch(self) -> int:
        """A descriptor that becomes readable when the process ends.

        A pidfd, where there is one: the sentinel stays silent while a grandchild holds it open.
        """
        return self._pidfd if self._pidfd is not None else self._process.sentinel

    @property
    def tells_its_death(self) -> bool:
        """Whether `death_watch` can be relied on; elsewhere `is_dead` has to be asked."""
        return self._pidfd is not None

    def is_dead(self) -> bool:
        if self._pidfd is None:
            return not self._process.is_alive()
        return bool(select.select([self._pidfd], [], [], 0)[0])

    def send(self, command: Command) -> None:
        """Raises OSError when the worker is gone; its death is then on its way here too."""
        self._commands.send(command)

    def received(self) -> Iterator[Event]:
        """The events that have arrived. Ends quietly when the worker's end is closed."""
        with contextlib.suppress(EOFError, OSError):
            while self.events.poll():
                yield self.events.recv()

    def kill(self) -> None:
        """SIGKILL to the worker and everything it started. Harmless when it is gone.

        Its number cannot have been given to another process: it is not reaped before `bury`.
        """
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()  # before its own session exists there is no group yet

    def stack(self) -> str:
        """The live stacks of all its threads; the GIL may be held. Empty where there are none."""
        if not hasattr(signal, "SIGUSR2") or self.is_dead():
            return ""
        before = self._stack_size()
        os.kill(self.pid, signal.SIGUSR2)
        return self._stack_after(before)

    def bury(self) -> Death:
        """Reap the dead process, kill what it left running, and say how it ended."""
        self.kill()
        self._process.join()
        exit_code = self._process.exitcode
        assert exit_code is not None
        return Death(
            pid=self.pid,
            exit_code=exit_code,
            oom_killed=exit_code == -9 and oom_kills() > self._oom_kills,
            stack=self._read_stack(0) if exit_code < 0 else "",
            tail=tuple(self.output.tail),
        )

    def close(self) -> None:
        """Give back every descriptor; the process must be buried."""
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._commands.close()
        self.events.close()
        self.output.close()
        self._stack.close()
        self._process.close()

    def _stack_after(self, start: int) -> str:
        """What faulthandler writes from `start` on: complete when it stopped growing."""
        give_up = time.monotonic() + WHERE_LIMIT_S
        size = start
        while time.monotonic() < give_up:
            time.sleep(0.01)
            if (grown := self._stack_size()) == size > start:
                break
            size = grown
        return self._read_stack(start)

    def _stack_size(self) -> int:
        return os.fstat(self._stack.fileno()).st_size

    def _read_stack(self, start: int) -> str:
        return os.pread(self._stack.fileno(), 1 << 20, start).decode("utf-8", "replace")


@contextlib.contextmanager
def _without_sigint() -> Iterator[None]:
    """A worker inherits the mask, so that a Ctrl-C while it boots does not end it.

    The resource tracker must run already: starting it unblocks SIGINT again on its way out.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pidfd(pid: int) -> int | None:
    if not hasattr(os, "pidfd_open"):
        return None
    try:
        return os.pidfd_open(pid)
    except OSError:  # a kernel before 5.3, or a sandbox
        return None
