"""A worker process: all calls into the operating system, and no decision.

A worker is spawned, never forked: the shell has threads, and CUDA does not survive a fork.
"""

from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import select
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING

from dw.codec import to_bytes
from dw.worker.bounded import bounded
from dw.worker.child import bootstrap
from dw.worker.process import exit_cause
from dw.worker.process.event_reader import event_reader
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.process.output import OutputReader
from dw.worker.process.pipes import Inherited

if TYPE_CHECKING:
    from pathlib import Path

    from dw.events import Command
    from dw.types import FileState

COMMANDS_ROOM = 1 << 20  # bytes; a workflow's text must fit, or a stopped worker stops the shell
LONGEST_STACK = 1 << 20  # bytes
CRASH = "Fatal Python error"  # how faulthandler begins


class WorkerProcess:
    """A spawned worker with its two pipes, its output, and a file for its stacks.

    Spawn only from a thread that lives as long as the program: on Linux the worker dies with the
    *thread* that made it.
    """

    is_one_abandoned = False

    def __init__(self, options: bootstrap.WorkerOptions, log_dir: Path) -> None:
        """Raises OSError, and then leaves nothing open and no process."""
        context = multiprocessing.get_context("spawn")
        self._oom_kills = exit_cause.oom_kills()
        self._dump_begin: int | None = None
        self._mapped: dict[Path, FileState] = {}
        # While the parent holds the ends of the child, it would never read the end of its pipes.
        with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
            their_commands, self._commands = context.Pipe(duplex=False)
            theirs.callback(their_commands.close)
            ours.callback(self._commands.close)
            our_events, their_events = context.Pipe(duplex=False)
            theirs.callback(their_events.close)
            ours.callback(our_events.close)
            output, their_output = os.pipe()
            theirs.callback(os.close, their_output)
            ours.callback(os.close, output)
            self._stack, their_stack, self._leftover = _file_for_stacks()
            theirs.callback(os.close, their_stack)
            ours.callback(os.close, self._stack)
            passed = (their_commands, their_events, Inherited(their_output), Inherited(their_stack))
            self._process = context.Process(
                target=bootstrap.main, args=(options, *passed), daemon=False
            )
            _widen(self._commands.fileno())
            with _blocked_signals():
                self._process.start()
            ours.callback(self._process.join)
            ours.callback(self._process.kill)
            assert self._process.pid is not None
            self.pid = self._process.pid
            self._pidfd = _pidfd(self.pid)
            self.events = event_reader(our_events)
            self.output = OutputReader(output, log_dir / f"worker-{self.pid}.log")
            ours.pop_all()

    @property
    def exit_watch(self) -> int:
        """A descriptor that becomes readable when the process ends.

        A pidfd where there is one: the sentinel is not readable while a grandchild holds it open.
        """
        return self._pidfd if self._pidfd is not None else self._process.sentinel

    @property
    def reports_its_exit(self) -> bool:
        """Whether `exit_watch` is reliable; if not, `has_exited` must be polled."""
        return self._pidfd is not None

    def has_exited(self) -> bool:
        if self._pidfd is not None:
            return bool(select.select([self._pidfd], [], [], 0)[0])
        if not hasattr(os, "waitid"):
            return not self._process.is_alive()
        try:  # WNOWAIT: it is not reaped, so its pid is not reused
            options = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.pid, options) is not None
        except ChildProcessError:
            return True

    def send(self, command: Command) -> None:
        """Raises OSError when the worker has exited; `exit_watch` then reports that too."""
        self.output.secrets |= getattr(command, "secrets", {})
        self._commands.send_bytes(to_bytes(command))

    def maps(self, files: Iterable[FileState]) -> None:
        """Remember the files that it maps into memory, for the cause of its end."""
        self._mapped |= {file.path: file for file in files}

    def kill(self) -> None:
        """SIGKILL to the worker and everything it started. Harmless when it has exited.

        Its pid cannot belong to another process: it is not reaped before `reap`.
        """
        if hasattr(os, "killpg"):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()  # before it has its own session there is no group

    def ask_stack(self) -> int:
        """Make it write the stacks of its threads, in about 1 ms, also while the GIL is held.

        Returns where they begin, for `stack_from`. Without signals (Windows) nothing is written.
        """
        begin = os.fstat(self._stack).st_size
        if hasattr(signal, "SIGUSR2") and not self.has_exited():
            os.kill(self.pid, signal.SIGUSR2)
        return begin

    def stack_from(self, begin: int) -> str:
        os.lseek(self._stack, begin, os.SEEK_SET)
        return os.read(self._stack, LONGEST_STACK).decode("utf-8", "replace")

    def dump_stack(self) -> None:
        """Ask for the stack that `reap` will return."""
        self._dump_begin = self.ask_stack()

    def reap(self) -> ExitStatus:
        """Reap the process, which has exited, kill what it left running, and say how it ended."""
        self.kill()
        self._process.join()
        exit_code = self._process.exitcode
        assert exit_code is not None
        was_oom_kill = exit_cause.oom_kills() > self._oom_kills
        stack = self.stack_from(self._dump_begin or 0)
        if CRASH in stack:
            stack = stack[stack.rindex(CRASH) :]
        elif self._dump_begin is None:
            stack = ""  # it did not crash, and nobody asked for a stack before the kill
        return ExitStatus(
            pid=self.pid,
            exit_code=exit_code,
            oom_killed=exit_code == -exit_cause.SIGKILL and was_oom_kill,
            stack=stack,
            tail=tuple(self.output.tail),
            cut_file=bounded(lambda: exit_cause.cut_file(exit_code, self._mapped.values()), None),
        )

    def abandon(self) -> None:
        """Kill it without waiting: the end of the shell must not depend on it.

        multiprocessing has no other way to leave a process out of its join at exit.
        """
        self.kill()
        if self.has_exited():
            self._process.join()
        else:
            multiprocessing.process._children.discard(self._process)  # type: ignore[attr-defined]
            WorkerProcess.is_one_abandoned = True

    def close(self) -> None:
        """Close every descriptor; the process must be reaped."""
        if self._pidfd is not None:
            os.close(self._pidfd)
        self._commands.close()
        self.events.close()
        self.output.close()
        os.close(self._stack)
        if self._leftover is not None:
            os.unlink(self._leftover)
        self._process.close()


def end_resource_tracker() -> None:
    """End the process that multiprocessing starts beside its first one, and never ends itself.

    It would outlive this program and, where PID 1 reaps nothing, as in many containers, stay there
    as a zombie. It lives as long as a process that has inherited its pipe.
    """
    if not WorkerProcess.is_one_abandoned and not multiprocessing.active_children():
        resource_tracker._resource_tracker._stop()  # type: ignore[attr-defined]


def _file_for_stacks() -> tuple[int, int, str | None]:
    """A read and a write descriptor, each with its own position, and the file's name.

    None instead of the name where it could be unlinked: then nothing stays in the file system,
    however the program ends.
    """
    if hasattr(os, "memfd_create"):  # in memory: there the disk may be full
        theirs = os.memfd_create("dw-stack")
        try:
            return os.open(f"/proc/self/fd/{theirs}", os.O_RDONLY), theirs, None
        except OSError as error:
            os.close(theirs)
            if error.errno != errno.ENOENT:  # there is a /proc
                raise
    theirs, path = tempfile.mkstemp(prefix="dw-stack-")
    ours = os.open(path, os.O_RDONLY)
    try:
        os.unlink(path)
    except PermissionError:  # Windows does not unlink open files
        return ours, theirs, path
    return ours, theirs, None


def _widen(pipe: int) -> None:
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # beyond the user's share of pipe memory
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, COMMANDS_ROOM)


@contextlib.contextmanager
def _blocked_signals() -> Iterator[None]:
    """The worker inherits the mask, so that no signal ends it before it has handlers.

    The resource tracker must run before: starting it unblocks SIGINT again.
    """
    if sys.platform == "win32":
        yield
        return
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, bootstrap.BLOCKED)
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
