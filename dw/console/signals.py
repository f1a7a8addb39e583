"""Signals: what ends a program from outside, and its end by that signal.

While events are awaited a signal only wakes the waiting thread, because an exception raised in a
handler could lose the message that is just arriving. Otherwise it raises KeyboardInterrupt.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, Self

from dw.errors import EXIT_SIGPIPE, Interrupted
from dw.terminal.renderer import OutputClosed, Stream

CAUSES = {
    getattr(signal, name): f"{cause} ({name})"
    for name, cause in {
        "SIGTERM": "the program was told to end",
        "SIGHUP": "the terminal was closed",
        "SIGQUIT": "the program was told to quit",
    }.items()
    if hasattr(signal, name)  # Windows lacks two of them
}
"""The signals that end any session; SIGINT ends only a script."""

HANGUP = getattr(signal, "SIGHUP", None)
OUTPUT_CLOSED = "nobody reads the output any more"


class Signals:
    """A context that owns the handlers. `received` is what ends the program, or else the last
    SIGINT."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._wake: Callable[[], None] | None = None
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *CAUSES):
                # nohup lets a program outlive its terminal by ignoring the signal.
                if number != HANGUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @property
    def asks_to_leave(self) -> bool:
        return self.received in CAUSES

    @property
    def cause(self) -> str:
        """Why the program ends, as a clause."""
        return "interrupted" if self.received is None else CAUSES.get(self.received, "interrupted")

    @property
    def exit_code(self) -> int:
        return 128 + (self.received or signal.SIGINT)

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Within this context a signal calls `wake` and does nothing else."""
        former, self._wake = self._wake, wake
        try:
            yield
        finally:
            self._wake = former

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if number == HANGUP and self.asks_to_leave:
            return  # the kernel, the shell and systemd each send one after the other: none insists
        if not self.asks_to_leave:
            self.received = signal.Signals(number)
        if self._wake is None:
            raise KeyboardInterrupt
        self._wake()


def run_program(work: Callable[[Signals], int], signals: Signals | None = None) -> int:
    """The exit code of `work`. Where a signal has interrupted it, this process ends by that."""
    _fill_standard_descriptors()
    with signals or Signals() as signals:
        try:
            code = work(signals)
            if not signals.asks_to_leave:
                return code
        except OutputClosed:
            if sys.stdout is None:
                told = "error: cannot write the output: standard output is closed"
                Stream(sys.stderr, is_optional=True).line(told)
            _discard_output()
            if not signals.asks_to_leave:
                return EXIT_SIGPIPE
        except (KeyboardInterrupt, Interrupted):
            pass
    end_by(signals.received or signal.SIGINT)
    return signals.exit_code


def end_by(number: signal.Signals) -> None:
    """End this process by the signal itself, so that a shell loop around it also stops."""
    with suppress(ImportError, OSError, ValueError):
        import resource  # Windows has none, and no core files either

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # SIGQUIT would write one
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


def _fill_standard_descriptors() -> None:
    """A pipe of the worker must not get the number of a standard stream that is closed."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest free number


def _discard_output() -> None:
    """The readers are gone: let Python flush its streams at the end without an error."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):
            os.dup2(null, stream.fileno())
    os.close(null)
