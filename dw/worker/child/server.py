"""The worker server: a thread that runs, one that reads commands, and one that sends heartbeats.

Runs, clears, checks and preparations are executed one at a time in the main thread. The control
thread reads commands meanwhile, so that a cancel, a memory report and the end of the shell take
effect during a run. Models are never loaded in two threads at once: concurrent loads corrupt each
other.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from dw import events
from dw.codec import from_bytes, to_bytes
from dw.events import (
    Cancel,
    Check,
    Clear,
    Command,
    Event,
    Heartbeat,
    Prepare,
    Report,
    Run,
    Shutdown,
    Stop,
)
from dw.worker.child.failure import failed, redacted_event
from dw.worker.process.output import DRAINED
from dw.worker.process.resources import rss
from dw.workflow import Document, ValidationResult, validate_text

HEARTBEAT_S = 0.5
TERM_S = 1.0  # from a SIGTERM of this process alone to its effect
_began = time.monotonic()

from dw.engine import Cancelled, Engine, RunControl  # noqa: E402  (timed above)


def serve(commands: Connection[Any, Any], events: Connection[Any, Any]) -> None:
    """Serve until the shell sends Shutdown or ends."""
    WorkerServer(commands, events).serve()


class WorkerServer:
    def __init__(self, commands: Connection[Any, Any], events: Connection[Any, Any]) -> None:
        self._commands = commands
        self._events = events
        self._sending = threading.Lock()
        self._engine = Engine()
        self._work: SimpleQueue[Run | Clear | Check | Prepare] = SimpleQueue()
        self._controls: dict[int, RunControl] = {}

    def serve(self) -> None:
        # The collector skips the 500,000 objects of the imports: a collection takes 1 ms, not 275.
        # The bootstrap switched it off, which makes the imports a fifth faster.
        gc.freeze()
        gc.enable()
        signal.signal(signal.SIGTERM, self._told_to_end)
        threading.Thread(target=self._listen, name="control", daemon=True).start()
        self._send(events.Ready(events.VERSION, os.getpid(), time.monotonic() - _began))
        threading.Thread(target=self._send_heartbeats, name="heartbeat", daemon=True).start()
        while True:
            self._answer(self._work.get())

    def _told_to_end(self, *_: object) -> None:
        """A service ends all its processes at once: the shell has a moment to cancel the run."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        timer = threading.Timer(TERM_S, self._end)
        timer.daemon = True
        timer.start()

    # ------------------------------------------------------------------ the other threads

    def _end(self) -> None:
        if not any(control.is_cancelled for control in self._controls.values()):
            os.kill(os.getpid(), signal.SIGTERM)

    def _listen(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                self._accept(from_bytes(self._commands.recv_bytes()))
        os._exit(0)  # the shell has ended

    def _send_heartbeats(self) -> None:
        """No call into CUDA: it may wait for a driver that hangs."""
        while True:
            self._send(Heartbeat(rss()))
            time.sleep(HEARTBEAT_S)

    def _accept(self, command: Command | Event) -> None:
        match command:
            case Run():
                self._controls[command.run_id] = RunControl()
                self._work.put(command)
            case Clear() | Check() | Prepare():
                self._work.put(command)
            case Cancel():
                if control := self._controls.get(command.run_id):
                    control.cancel(command.cause)
            case Stop():
                if control := self._controls.get(command.run_id):
                    control.stop()
            case Report():
                self._send(events.Reported(command.run_id, self._engine.memory()))
            case Shutdown():
                self._finish(to_bytes(events.Exited(command.run_id)))
                os._exit(0)  # a normal exit with torch loaded takes seconds
            case _:
                pass  # an event: the shell sends none

    # ------------------------------------------------------------------ the main thread

    def _answer(self, command: Run | Clear | Check | Prepare) -> None:
        """Execute it, and send exactly one terminal event whatever happens.

        An error leaves the `except` blocks as strings: the traceback of an exception holds the
        tensors of every frame, and the engine can free them only when nothing holds them.
        """
        done, secrets = False, getattr(command, "secrets", {})
        try:
            terminal = to_bytes(self._execute(command))
            done = True
        except Cancelled as stop:
            terminal = to_bytes(events.RunCancelled(command.run_id, stop.step, stop.steps))
            traceback.clear_frames(stop.__traceback__)
        except (Exception, SystemExit) as error:
            terminal = to_bytes(redacted_event(failed(command.run_id, error), secrets))
            traceback.clear_frames(error.__traceback__)
        if not done:
            self._engine.recover()
        self._controls.pop(command.run_id, None)
        self._finish(terminal)

    def _execute(self, command: Run | Clear | Check | Prepare) -> Event:
        match command:
            case Run():
                return self._run(command)
            case Clear():
                report = self._engine.clear()
                memory = self._engine.memory()
                return events.Cleared(command.run_id, report.freed, memory, report.survivors)
            case Check():
                # The parts that have the right shape; the shell has reported the others.
                document = _validated(command).document
                found = () if document is None else self._engine.check(document)
                if document is not None and not command.rehearse:
                    found += self._engine.check_models(document, command.device)
                return events.Checked(command.run_id, found)
            case Prepare():
                self._engine.prepare(_document(command))
                return events.Prepared(command.run_id)

    def _run(self, command: Run) -> Event:
        result = self._engine.run(
            _document(command),
            command,
            control=self._controls[command.run_id],
            emit=lambda event: self._send(redacted_event(event, command.secrets)),
        )
        return events.Finished(
            command.run_id,
            result.workflow,
            result.seconds,
            result.seed,
            result.outputs,
            self._engine.memory(),
            str(result.output_dir),
            result.stopped_early,
        )

    # ------------------------------------------------------------------ both threads

    def _send(self, event: Event) -> None:
        self._write(to_bytes(event))

    def _write(self, message: bytes) -> None:
        with self._sending:
            try:
                self._events.send_bytes(message)
            except OSError:
                os._exit(0)  # the shell has ended

    def _finish(self, terminal: bytes) -> None:
        """End the output so far with its mark; then write the terminal event."""
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        if os.name == "posix":
            ctypes.CDLL(None).fflush(None)
        os.write(1, DRAINED)
        self._write(terminal)


def _document(command: Run | Check | Prepare) -> Document:
    return _validated(command).document_or_raise()


def _validated(command: Run | Check | Prepare) -> ValidationResult:
    return validate_text(
        command.text,
        Path(command.path),
        permissions=command.permissions,
        texts=command.texts if isinstance(command, Run) else {},
    )
