"""Programs at a terminal: from the connection to the worker to the exit code."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dw.console.options import OutputOptions, ProgramOptions
from dw.console.signals import OUTPUT_CLOSED, Signals, run_program
from dw.errors import Bug, DwError, Interrupted
from dw.refusals import understood
from dw.settings import Settings, load_settings
from dw.terminal.capabilities import Terminal
from dw.terminal.ndjson import JsonRenderer
from dw.terminal.plain import PlainRenderer
from dw.terminal.remedies import Wording
from dw.terminal.renderer import OutputClosed, Renderer, Stream

if TYPE_CHECKING:
    from dw.jobs.worker import WorkerClient

Connect = Callable[[Settings], "WorkerClient"]
Work = Callable[["WorkerClient", Settings, Signals], int]


def connect_worker(settings: Settings) -> WorkerClient:
    if settings.server:
        from dw.jobs.remote_worker import RemoteWorkerClient

        return RemoteWorkerClient(settings)
    from dw.worker.client import LocalWorkerClient

    return LocalWorkerClient(settings)


def make_renderer(
    output: OutputOptions, terminal: Terminal, wording: Wording, *, for_people: bool
) -> Renderer:
    """JSON for machines, one stream with a bar below it for people, two streams for scripts."""
    out, err = Stream(sys.stdout), Stream(sys.stderr, is_optional=True)
    if output.json:
        return JsonRenderer(out, err, wording)
    color = terminal.color(output.color, for_people=for_people)
    shows = terminal.has_output and not (output.plain or output.quiet)
    environment = terminal.environment if shows else None
    if for_people and not (output.plain or output.quiet or terminal.is_simple):
        from dw.terminal.live import LiveRenderer

        return LiveRenderer(
            out, color=color, echo=output.echo, terminal=environment, wording=wording
        )
    messages = out if for_people else err
    return PlainRenderer(
        out,
        messages,
        for_people=for_people,
        color=color,
        quiet=output.quiet,
        echo=output.echo,
        terminal=environment,
        wording=wording,
    )


@dataclass(frozen=True)
class Program:
    """One execution of a program. When `run` returns, no process of ours is left in any case."""

    options: ProgramOptions
    renderer: Renderer
    connect: Connect

    def run(self, work: Work) -> int:
        """Do the work. Returns its exit code, or ends this process by the signal that ended it."""
        return run_program(lambda signals: self._announced(signals, work))

    def _announced(self, signals: Signals, work: Work) -> int:
        code = Bug.exit_code
        try:
            code = self._reported(signals, work)
        except (KeyboardInterrupt, Interrupted) as interrupt:
            code = signals.exit_code
            if isinstance(interrupt, KeyboardInterrupt):  # the other one has been told
                self.renderer.status(signals.cause)
            raise
        finally:
            with suppress(OutputClosed, DwError):
                self.renderer.end(code)
        return code

    def _reported(self, signals: Signals, work: Work) -> int:
        try:
            self.renderer.begin()
            settings = self.options.apply(load_settings())
            client = self.connect(settings)
            cause = "the program has ended"
            try:
                return work(client, settings, signals)
            except OutputClosed:
                cause = OUTPUT_CLOSED
                raise
            finally:
                client.close(signals.cause if signals.asks_to_leave else cause)
        except (OutputClosed, Interrupted):
            raise
        except Exception as error:
            told = understood(error)
            with suppress(DwError):  # the error may concern the stream that shows it
                self.renderer.error(told)
                if isinstance(told, Bug):
                    self.renderer.warning(traceback.format_exc())
            return told.exit_code
