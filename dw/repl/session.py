"""The session: the open workflow with its arguments, and the execution of one line after another.

It needs no terminal: lines come from a prompt or a script, and output goes to a renderer. The run
monitor (console/run_monitor.py) submits commands to the worker and receives its events.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from dw.console.run_keys import Keys
from dw.console.run_monitor import Ask, RunMonitor
from dw.console.signals import Signals
from dw.errors import EXIT_OK, AlreadyShown, Bug, DwError, Interrupted, UsageError, WorkflowError
from dw.jobs.request import RunRequest
from dw.jobs.validation import WorkflowFiles
from dw.jobs.worker import WorkerClient
from dw.redaction import redacted_text
from dw.refusals import refusal
from dw.repl.background import Background
from dw.repl.commands.registry import parse
from dw.repl.lexer import LexError, Word, lex
from dw.repl.variables import Variables
from dw.run_record import find_past
from dw.settings import Settings
from dw.terminal.renderer import OutputClosed, Renderer
from dw.types import Diagnostic, Permissions

if TYPE_CHECKING:
    from dw.jobs.workflow_arguments import OpenWorkflow


class ExitShell(Exception):
    """The user leaves the shell. Without a code a script returns that of its first failure."""

    def __init__(self, exit_code: int | None = None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """`is_script`: without a prompt. `keep_going`: a failure does not end a script. `trust`: a
    workflow may use code and paths from anywhere.
    """

    is_script: bool = False
    keep_going: bool = False
    trust: bool = False


DEFAULT_OPTIONS = SessionOptions()


class Session:
    def __init__(
        self,
        client: WorkerClient,
        renderer: Renderer,
        settings: Settings,
        *,
        options: SessionOptions = DEFAULT_OPTIONS,
        signals: Signals | None = None,
        keys: Keys | None = None,
        ask: Ask | None = None,
    ) -> None:
        self.client = client
        self.renderer = renderer
        self.settings = settings
        self.configured: dict[str, None] = {}  # what `config` changed, in its order
        self.options = options
        self.monitor = RunMonitor(
            client, renderer, signals=signals, keys=keys, ask=ask, is_script=options.is_script
        )
        self.background = Background(client)
        self.variables = Variables()
        self.open_workflow: OpenWorkflow | None = None
        self.worker_workflow: Path | None = None  # the one whose models the worker holds
        self.device: str | None = None  # as the worker last reported it
        self.position: str | None = None  # `file:line` of the command that runs, in a script
        self.sources: list[Path] = []  # the files that are being run, outermost first
        self.last_problem: Diagnostic | None = None  # the first of the last invalid workflow
        self.last_request: RunRequest | None = None  # of the last run, even one that failed

    # -------------------------------------------------------------- lines

    def execute(self, line: str | Sequence[Word]) -> None:
        """Execute one line. Raises DwError when its command fails, ExitShell at `exit`."""
        if words := lex(line) if isinstance(line, str) else line:
            call = parse(words, self.variables)
            call.command.function(self, call)

    def attempt(self, line: str | Sequence[Word], position: str | None = None) -> int:
        """Execute one line and show its error. Returns its exit code.

        `position` is its `file:line` in a script. Raises ExitShell and OutputClosed; in a script,
        or when a signal ends the shell, also Interrupted.
        """
        self.position = position
        begun, former = time.monotonic(), self.last_request
        try:
            return self._attempt(line, position)
        finally:
            self.show_notices()
            if self.last_request is not former:
                self._ring(time.monotonic() - begun)

    def _ring(self, seconds: float) -> None:
        """After long runs, for a user who has turned to something else."""
        if self.options.is_script or self.settings.bell == "off":
            return
        if seconds >= float(self.settings.bell):
            self.renderer.bell()

    def _attempt(self, line: str | Sequence[Word], position: str | None) -> int:
        try:
            self.execute(line)
        except (ExitShell, OutputClosed):
            raise
        except AlreadyShown as error:
            return error.exit_code
        except Interrupted as error:
            self.renderer.status(str(error))
            if not self.monitor.goes_on:
                raise
            return error.exit_code
        except DwError as error:
            if isinstance(error, WorkflowError) and error.problems:
                self.last_problem = error.problems[0]
            error.message = redacted_text(error.message, self.variables.secrets)
            self.renderer.error(_marked(error, line), position=position, trace=error.trace)
            return error.exit_code
        except Exception as error:
            if refused := refusal(error):
                self.renderer.error(refused, position=position)
                return refused.exit_code
            return self._report_bug(error, position)
        return EXIT_OK

    def _report_bug(self, error: Exception, position: str | None) -> int:
        """A bug in dw: the session goes on, and the traceback is kept."""
        text = "".join(traceback.format_exception(error))
        number = self.client.next_id()
        self.monitor.tracebacks.keep(number, text)
        self.renderer.error(Bug.from_exception(error), position=position, trace=number)
        if self.options.is_script:
            self.renderer.warning(text)
        return Bug.exit_code

    # -------------------------------------------------------------- state

    @property
    def workflow(self) -> OpenWorkflow:
        """The open workflow. Raises UsageError when none is loaded."""
        if self.open_workflow is None:
            raise UsageError("no workflow is loaded", hints=["load NAME"])
        return self.open_workflow

    @property
    def files(self) -> WorkflowFiles:
        """Workflow files under the current settings and permissions."""
        return WorkflowFiles(
            self.settings, self.permissions, self.client.next_id, self.monitor.request
        )

    @property
    def permissions(self) -> Permissions:
        """What the settings and `--trust` allow a workflow to do."""
        permissions = self.settings.permissions
        return replace(permissions, trust=True) if self.options.trust else permissions

    @property
    def last_seed(self) -> int | None:
        """Of the last run, which may be another session's."""
        return self.variables.run.seed if self.variables.run else self._earlier_seed

    @cached_property
    def _earlier_seed(self) -> int | None:
        try:
            seed = find_past(self.output_dir).facts.get("seed")
        except (UsageError, OSError):
            return None
        return seed if isinstance(seed, int) else None

    @property
    def output_dir(self) -> Path:
        return Path(self.settings.output_dir).expanduser().absolute()

    @property
    def preview_s(self) -> float | None:
        """Seconds between two previews; None for none."""
        return self.settings.preview_s(shows=self.renderer.shows_previews(self.settings.images))

    def configure(self, settings: Settings) -> None:
        self.settings = settings
        self.client.apply(settings)

    def show_notices(self) -> None:
        """What the runs in the background have to tell."""
        for notice in self.background.notices():
            if isinstance(notice, str):
                self.renderer.result(redacted_text(notice, self.variables.secrets))
            else:
                notice.message = redacted_text(notice.message, self.variables.secrets)
                self.renderer.error(notice)

    def warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.renderer.warning(line)

    # -------------------------------------------------------------- the worker's process

    @property
    def has_worker(self) -> bool:
        return self.client.status().state != "none"

    def stop_worker(self) -> None:
        """Stop the worker, if one is running; its models are lost. Raises UsageError while runs are
        in the background."""
        if jobs := self.background.jobs:
            raise UsageError(
                f"the worker has {len(jobs)} run(s) in the background",
                hints=["wait   until they have ended", "cancel all   ends them"],
            )
        if self.has_worker:
            self.renderer.status("Shutting down worker process...")
            self.client.stop()
        self.worker_workflow = None

    def goodbye(self) -> None:
        """End the session and all its processes, and show that to the user."""
        if jobs := self.background.jobs:
            self.renderer.warning(f"{len(jobs)} run(s) in the background are cancelled")
        if self.has_worker:
            self.renderer.status("Shutting down worker process...")
        self.client.close()
        self.renderer.status("Goodbye!")


def _marked(error: DwError, line: str | Sequence[Word]) -> DwError:
    """The error; a syntax error shows its line, with a mark below the column."""
    if isinstance(error, LexError) and isinstance(line, str):
        text = line.split("\n")[error.line - 1]
        mark = " " * (error.column - 1) + "^"
        return UsageError(f"{error.message}\n  {text}\n  {mark}", hints=error.hints)
    return error
