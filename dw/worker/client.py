"""The worker client: one thread that spawns workers, reads their pipes and carries out the policy.

That thread alone touches processes and pipes. Other threads hand it calls and wait for the answer;
events reach them through the `RunHandle` of their command.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from multiprocessing.connection import wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from dw.codec import to_bytes
from dw.errors import DwError, WorkerLost
from dw.events import TERMINAL, Command, Died, Event, Mapped, Shutdown, Started, Warned
from dw.refusals import cures, reason
from dw.settings import Settings, log_dir
from dw.worker.child.bootstrap import WorkerOptions
from dw.worker.death_records import record_death
from dw.worker.handle import SIGNALS_S, RunHandle, WorkerStatus
from dw.worker.process import resources
from dw.worker.process.event_reader import BadMessage
from dw.worker.process.exit_cause import ExitStatus
from dw.worker.process.pipes import Wakeup, is_ready
from dw.worker.process.process import WorkerProcess, end_resource_tracker
from dw.worker.process.resources import Free
from dw.worker.process.stack import StackSummary, summarize
from dw.worker.supervision.actions import Action, DumpStack, Emit, Kill, QueryGpuMemory, Send, Spawn
from dw.worker.supervision.command_state import Limits
from dw.worker.supervision.supervisor import LEAVING, Supervisor
from dw.worker.supervision.worker_state import WorkerState

T = TypeVar("T")

SERVE = "dw.worker.child.server:serve"
STACK_LIMIT_S = 0.5  # a stack takes about a millisecond; a stopped process writes none
POLL_S = 0.5  # between two looks at a process whose exit no descriptor reports
KEPT_LOGS = 20
SPARE_BYTES = 1 << 30  # free host memory that a standby needs; it takes about half of it


class LocalWorkerClient:
    """Workers, as the shell sees them. Starts the standby at once when the settings want one."""

    def __init__(
        self,
        settings: Settings,
        *,
        serve: str = SERVE,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
        free_gpu_bytes: Callable[[], Free] = resources.free_gpu_bytes,
    ) -> None:
        self._settings = settings
        self._serve = serve
        self._clock = clock
        self._free_gpu_bytes = free_gpu_bytes
        self._policy = Supervisor(limits or _limits(settings))
        self._processes: dict[int, WorkerProcess] = {}
        self._handles: dict[int, RunHandle] = {}
        self._emitted: dict[RunHandle, list[Event]] = {}  # in this turn of the loop
        self._ids = itertools.count(-1, -1)
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._wakeup = Wakeup()
        self._closed = False
        self._thread = threading.Thread(target=self._supervise, name="supervisor", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    # -------------------------------------------------------------- verbs, for any thread

    def next_id(self) -> int:
        """For a command that is no run with a folder; the number of such a run is above 0."""
        return next(self._ids)

    def submit(self, command: Command, timeout_s: float = float("inf")) -> RunHandle:
        """Hand over a command; the handle yields its events. `timeout_s` is a run's deadline.

        Raises WorkerLost when the command needs a running worker (Report, Clear) and there is none;
        ValueError or TypeError when it holds a value that JSON does not have.
        """
        to_bytes(command)  # raises here, for the caller: it would end the supervisor's thread
        return self._call(lambda: self._submit(command, timeout_s))

    def cancel(self, run_id: int, leaving: str | None = None) -> None:
        """Ask a run to stop at its next consistent point; its models are kept.

        `leaving`: the program ends as well, for this cause; a load has then no more time to stop
        than a step.
        """
        self._call(lambda: self._cancel(run_id, leaving))

    def stop_run(self, run_id: int) -> None:
        """End the denoising of a run early; its image and the models are kept."""
        self._call(lambda: self._do(self._policy.stop(run_id)))

    def kill(self) -> None:
        """Kill the active worker; its models are lost."""
        self._call(lambda: self._do(self._policy.kill(self._clock())))

    def stop(self) -> None:
        """Shut the active worker down and wait until it has exited."""
        self.submit(Shutdown(self.next_id())).result()

    def status(self) -> WorkerStatus:
        return self._call(self._status)

    def where(self) -> StackSummary | None:
        """What the worker is doing, also while the GIL is held or it is stopped; None without one.

        Waits at most half a second for the stack.
        """
        if (begin := self._ask_active(WorkerProcess.ask_stack)) is None:
            return None
        stack = before = ""
        give_up = time.monotonic() + STACK_LIMIT_S
        while not (stack and stack == before) and time.monotonic() < give_up:
            time.sleep(0.01)  # the stack is complete when it no longer grows
            read = self._ask_active(lambda process: process.stack_from(begin))
            before, stack = stack, read or ""
        return self._call(lambda: self._stack_summary(stack))

    def close(self, cause: str = LEAVING.cause) -> None:
        """End every process and wait for it; a run is cancelled for `cause`, and killed after its
        grace or at an interrupt. Harmless when called again.
        """
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        self._post(lambda: self._close(cause))
        while self._thread.is_alive():
            try:
                self._thread.join(SIGNALS_S)
            except KeyboardInterrupt:  # whatever a signal's handler raises
                self._post(lambda: self._close(cause))
        end_resource_tracker()

    def apply(self, settings: Settings) -> None:
        """Use new settings, also for the clocks of a run that is under way."""
        self._settings = settings
        self._call(lambda: self._do(self._policy.limit(_limits(settings), self._clock())))

    # -------------------------------------------------------------- the supervisor's thread

    def _supervise(self) -> None:
        """The thread. If the loop fails, every command still ends and no process stays."""
        try:
            self._loop()
        finally:
            self._closed = True
            for process in self._processes.values():
                process.abandon()
            for run_id in list(self._handles):
                self._emit(Died(run_id, "killed", "the supervisor has ended", 0))
            self._hand_over()

    def _loop(self) -> None:
        _prune_logs()
        self._do(self._policy.tick(self._clock()))
        while not self._closed or (self._processes and not self._policy.is_at_its_end):
            ready = self._wait()
            if self._wakeup in ready:
                self._take_calls()
            for number, process in list(self._processes.items()):
                self._read(number, process, ready)
            self._do(self._policy.tick(self._clock()))
            self._hand_over()
        self._take_calls()
        self._hand_over()

    def _wait(self) -> Collection[Any]:
        """Until something has happened or is due. Returns what is to be read."""
        watched: list[Any] = [self._wakeup]
        due_s = max(0.0, self._policy.next_tick() - self._clock())
        for process in self._processes.values():
            watched.append(process.exit_watch)
            if not process.reports_its_exit:
                due_s = min(due_s, POLL_S)
            # A pipe that has ended stays ready for ever, even if the process goes on.
            watched += [pipe for pipe in (process.events, process.output) if not pipe.has_ended]
        return wait(watched, None if due_s == float("inf") else due_s)

    def _read(self, number: int, process: WorkerProcess, ready: Collection[Any]) -> None:
        """Its output, its events, and only then its exit, so that nothing is lost."""
        may_have_exited = process.exit_watch in ready or not process.reports_its_exit
        has_exited = may_have_exited and process.has_exited()
        if not (has_exited or process.output in ready or process.events in ready):
            return
        self._do(self._policy.output_received(number, process.output.read(), self._clock()))
        self._receive(number, process)
        while has_exited and not process.events.has_ended and is_ready(process.events, 0):
            self._receive(number, process)
        if has_exited:
            process.kill()  # processes that it started would hold its output open
            lines = process.output.drain_to_end()
            self._do(self._policy.output_received(number, lines, self._clock()))
            exit_status = process.reap()
            del self._processes[number]
            process.close()
            self._do(self._policy.exited(number, exit_status, self._clock()))
        elif process.events.has_ended:
            self._do(self._policy.event_pipe_closed(number, self._clock()))

    def _receive(self, number: int, process: WorkerProcess) -> None:
        if process.events.has_ended:
            return
        try:
            for event in process.events.receive():
                if isinstance(event, Mapped):
                    process.maps(event.files)
                    continue
                if isinstance(event, TERMINAL):
                    lines = process.output.drain()
                    self._do(self._policy.output_received(number, lines, self._clock()))
                self._do(self._policy.event_received(number, event, self._clock()))
        except BadMessage as error:
            process.events.has_ended = True
            self._do(self._policy.protocol_error(number, str(error), self._clock()))

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case Spawn():
                    self._spawn(action)
                case Send():
                    # A worker that has exited takes no command; its exit is read in this turn.
                    with contextlib.suppress(OSError, KeyError):
                        self._processes[action.worker].send(action.command)
                case DumpStack():
                    if process := self._processes.get(action.worker):
                        process.dump_stack()
                case Kill():
                    if process := self._processes.get(action.worker):
                        process.kill()
                case QueryGpuMemory():
                    resources.query_gpu_memory(self._free_gpu_bytes, self._gpu_memory_measured)
                case Emit():
                    self._emit(action.event)

    def _gpu_memory_measured(self, free: Free) -> None:
        """Called in the thread that measured."""
        self._post(lambda: self._do(self._policy.gpu_memory_measured(free, self._clock())))

    def _spawn(self, action: Spawn) -> None:
        if action.is_spare and (free := resources.free_host_bytes()) < SPARE_BYTES:
            self._failed_to_start(action, f"the host has only {free >> 20} MB of memory left")
            return
        options = WorkerOptions(
            os.getpid(), self._serve, log_level=self._settings.log_level, nice=action.nice
        )
        try:
            self._processes[action.worker] = WorkerProcess(options, log_dir())
        except OSError as error:  # no memory, no descriptors, no further process
            why = "; ".join([reason(error).lower(), *cures(error)])
            self._failed_to_start(action, f"no process could be started: {why}")

    def _failed_to_start(self, action: Spawn, cause: str) -> None:
        exit_status = ExitStatus(0, 1, oom_killed=False, start_error=cause)
        self._do(self._policy.exited(action.worker, exit_status, self._clock()))

    def _hand_over(self) -> None:
        """What was emitted, to its readers: one call for all, as each wakes a thread."""
        for handle, emitted in self._emitted.items():
            handle.put(*emitted)
        self._emitted.clear()

    def _emit(self, event: Event) -> None:
        handle = self._handles.get(event.run_id)
        if handle is None:
            return
        if isinstance(event, Started):
            handle.folder = Path(event.output_dir)
        if isinstance(event, TERMINAL):
            del self._handles[event.run_id]
            if handle.folder and (trouble := record_death(handle.folder, event, handle.leaving)):
                self._emitted.setdefault(handle, []).append(Warned(event.run_id, trouble))
        self._emitted.setdefault(handle, []).append(event)

    def _cancel(self, run_id: int, leaving: str | None) -> None:
        if leaving is None:
            self._do(self._policy.cancel(run_id, self._clock()))
            return
        if handle := self._handles.get(run_id):
            handle.leaving = leaving
        self._do(self._policy.cancel(run_id, self._clock(), "leaving", leaving))

    def _close(self, cause: str) -> None:
        for handle in self._handles.values():
            handle.leaving = handle.leaving or cause
        self._do(self._policy.close(self._clock(), cause))

    def _submit(self, command: Command, timeout_s: float) -> RunHandle:
        handle = self._handles[command.run_id] = RunHandle(command.run_id)
        try:
            self._do(self._policy.submit(command, self._clock(), timeout_s))
        except DwError:
            del self._handles[command.run_id]
            raise
        return handle

    def _status(self) -> WorkerStatus:
        policy, now = self._policy, self._clock()
        active, standby = policy.active, policy.standby.worker
        return WorkerStatus(
            state=active.state.value if active else "none",
            pid=self._pid(active.number) if active else None,
            standby_pid=self._pid(standby.number) if standby else None,
            run_id=active.job.run_id if active and active.job else None,
            standby_trouble=policy.standby.trouble,
            rss=active.rss if active else None,
            standby_rss=standby.rss if standby else None,
            silent_s=self._silence(active, now),
            restarts=policy.restarts_in_a_row(now),
            most_restarts=policy.limits.restarts,
            reload_s=active.costs.reload_s if active else None,
            gpu_memory=str(policy.gpu_memory.outcome) if policy.gpu_memory.outcome else None,
        )

    def _silence(self, worker: WorkerState | None, now: float) -> float | None:
        silent_s = worker.silence(now) if worker else 0.0
        return silent_s if silent_s > self._policy.limits.silence_s else None

    def _stack_summary(self, stack: str) -> StackSummary | None:
        worker = self._policy.active
        if worker is None or (pid := self._pid(worker.number)) is None:
            return None
        line = summarize(worker.activity, stack) if worker.is_busy else worker.activity
        silent_s = self._silence(worker, self._clock())
        return StackSummary("; ".join([line, *resources.unusual_states(pid, silent_s)]), stack)

    def _pid(self, number: int) -> int | None:
        process = self._processes.get(number)
        return process.pid if process else None

    # -------------------------------------------------------------- between threads

    def _call(self, function: Callable[[], T]) -> T:
        """Run it in the supervisor's thread and wait. Its exception is raised here."""
        if self._closed:
            raise WorkerLost("the shell is leaving")
        answer: Future[T] = Future()

        def settle() -> None:
            try:
                answer.set_result(function())
            except Exception as error:
                answer.set_exception(error)

        self._post(settle)
        return answer.result()

    def _ask_active(self, question: Callable[[WorkerProcess], T]) -> T | None:
        """Ask the active worker's process, in the supervisor's thread; None without one."""

        def ask() -> T | None:
            active = self._policy.active
            process = self._processes.get(active.number) if active else None
            return question(process) if process else None

        return self._call(ask)

    def _post(self, call: Callable[[], None]) -> None:
        """Have the supervisor's thread make this call soon."""
        self._calls.put(call)
        self._wakeup.set()

    def _take_calls(self) -> None:
        self._wakeup.clear()
        while not self._calls.empty():
            self._calls.get()()


def _limits(settings: Settings) -> Limits:
    return Limits(stall_s=settings.stall, grace_s=settings.grace, standby=settings.standby)


def _prune_logs() -> None:
    """Keep the newest logs of former workers."""
    with contextlib.suppress(OSError):
        logs = sorted(log_dir().glob("worker-*.log"), key=lambda path: path.stat().st_mtime)
        for path in logs[:-KEPT_LOGS]:
            path.unlink()
