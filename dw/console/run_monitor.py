"""The run monitor: submits commands, shows their events, and cancels or kills on Ctrl-C."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from signal import Signals as Signal

from dw.console.results import keep_latest
from dw.console.run_keys import Keys
from dw.console.signals import Signals
from dw.console.tracebacks import Tracebacks
from dw.errors import Interrupted
from dw.events import (
    TERMINAL,
    Command,
    Event,
    Executing,
    Finished,
    Produced,
    Run,
    TerminalEvent,
)
from dw.jobs.outcome import Outcome, follow
from dw.jobs.request import RunRequest
from dw.jobs.worker import EventStream, WorkerClient
from dw.terminal.brief import Brief
from dw.terminal.messages import EventMessages, display_path, reload_cost
from dw.terminal.renderer import Renderer

Ask = Callable[[str, Callable[[], bool | None]], bool]

KILL_QUESTION = "kill the worker? its models are lost{} [y/N] "


class RunMonitor:
    """`ask` puts a yes-or-no question to the user; None without a user. Its second argument returns
    the answer once that is settled without the user, and None before. With `is_script` an interrupt
    ends the program, not only the run.
    """

    def __init__(
        self,
        client: WorkerClient,
        renderer: Renderer,
        *,
        signals: Signals | None = None,
        keys: Keys | None = None,
        ask: Ask | None = None,
        is_script: bool = False,
    ) -> None:
        self.client = client
        self.renderer = renderer
        self.signals = signals or Signals()
        self.keys = keys or Keys(None)
        self.tracebacks = Tracebacks()
        self.is_script = is_script
        self.brief: Brief | None = None
        self.last_text: str | None = None  # of the workflow that ran since a load
        self._files: list[str] = []  # of the run that is being shown
        self._ask = ask
        self._keys_are_known = False  # whether the user has seen the keys, in an earlier run

    def run(self, request: RunRequest) -> Finished:
        """Like `request`, for a run with its deadline."""
        path = display_path(request.path)
        finished = self.request(request.run, path=path, timeout_s=request.timeout_s)
        assert isinstance(finished, Finished)  # every other end of a run is an error
        if trouble := keep_latest(Path(request.run.output_dir), finished.outputs):
            self.renderer.warning(trouble)
        return finished

    def request(
        self, command: Command, *, path: str = "", timeout_s: float = float("inf")
    ) -> TerminalEvent:
        """Submit a command and show its events. `path` is the file of its workflow.

        Returns the terminal event, or raises the DwError for it. The first signal cancels a run, a
        second one kills the worker. Raises Interrupted at a signal during any other command, and
        after an interrupted run unless the program goes on.
        """
        early: list[None] = []
        with self.signals.waking(lambda: early.append(None)):  # there is no stream to wake yet
            stream = self.client.submit(command, timeout_s)
            outcome = self._follow(stream, path, command, is_interrupted=early)
        if outcome.trace:
            self.tracebacks.keep(stream.run_id, outcome.trace)
        if outcome.error:
            outcome.error.trace = stream.run_id if outcome.trace else None
            raise outcome.error
        return outcome.event

    @property
    def goes_on(self) -> bool:
        """Whether a run that is cancelled leaves the program, and its models, as they are."""
        return not (self.is_script or self.signals.asks_to_leave)

    def _follow(
        self, stream: EventStream, path: str, command: Command, *, is_interrupted: list[None]
    ) -> Outcome:
        can_cancel = isinstance(command, Run)
        text = command.text if isinstance(command, Run) else None
        messages = EventMessages(
            path,
            brief=self.brief if can_cancel else None,
            has_loaded=text is not None and text == self.last_text,
            tells_keys=self.keys.are_read and not self._keys_are_known,
            goes_on=not self.is_script,
        )
        received: list[Signal | None] = []

        def show(event: Event) -> None:
            self._keys_are_known |= isinstance(event, Executing)
            self._show(event, messages.lines(event))

        def interrupt() -> None:
            if not can_cancel:
                leaving = self.signals.asks_to_leave
                raise Interrupted(
                    self.signals.cause if leaving else "stopped waiting for the worker"
                )
            number = self.signals.received
            self._interrupt(stream.run_id, is_first=number not in received)
            received.append(number)

        stop = partial(self.client.stop_run, stream.run_id)
        with (
            self.signals.waking(stream.interrupt),
            self.keys.watched(stop) if can_cancel else nullcontext(),
        ):
            for _ in is_interrupted:
                stream.interrupt()
            outcome = follow(
                stream, on_event=show, on_interrupt=interrupt, goes_on=lambda: self.goes_on
            )
        self.last_text = text or self.last_text
        if received and not self.goes_on:
            raise Interrupted(str(outcome.error or "interrupted"))
        return outcome

    def _show(self, event: Event, lines: list[str]) -> None:
        """Show an event. At a terminal a brief report is one line with the files."""
        if self.brief is None or self.renderer.width is None:
            self.renderer.event(event, lines)
        elif isinstance(event, Produced):
            self._files.append(lines[0])
            self.renderer.event(event, [])
        elif isinstance(event, Finished):
            first, *more = self._files or [""]
            others = f" and {len(more)} more" if more else ""
            self._files.clear()
            self.renderer.event(event, [])
            self.renderer.result(f"{lines[0]}  {first}{others}".rstrip())
        else:
            if isinstance(event, TERMINAL):
                self._files.clear()
            self.renderer.event(event, lines)

    @contextmanager
    def briefly(self, brief: Brief | None) -> Iterator[None]:
        """Within this context runs are reported so; None: as the checklist has it."""
        former, self.brief = self.brief, brief
        try:
            yield
        finally:
            self.brief = former

    def ask(self, question: str, *, is_moot: Callable[[], bool] = lambda: False) -> bool:
        """The user's yes or no; yes without a user.

        A signal while the question is open means yes; the answer is no once `is_moot` holds.
        """
        if self._ask is None:
            return True
        self.renderer.pause()
        insists = threading.Event()
        with self.keys.paused(), self.signals.waking(insists.set):
            return self._ask(
                question, lambda: True if insists.is_set() else False if is_moot() else None
            )

    def _interrupt(self, run_id: int, *, is_first: bool) -> None:
        """Cancel the run at the first interrupt; then kill the worker if the user confirms."""

        def is_running() -> bool:
            return self.client.status().run_id == run_id

        self.keys.forget()
        if is_first:
            self._cancel(run_id)
            return
        question = KILL_QUESTION.format(reload_cost(self.client.status().reload_s))
        leaves = self.signals.asks_to_leave
        kills = leaves or self.ask(question, is_moot=lambda: not is_running())
        if not is_running():  # it may have ended while the question was open
            return
        if self.signals.asks_to_leave and not leaves:
            self._cancel(run_id)
        elif kills:
            self.client.kill()
        else:
            self.renderer.status("The worker goes on")

    def _cancel(self, run_id: int) -> None:
        if self.signals.asks_to_leave:
            self.client.cancel(run_id, self.signals.cause)
        else:
            self.client.cancel(run_id)
