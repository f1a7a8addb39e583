"""A session: what is open, what was set, the worker, and one line after the other.

It knows no terminal. Lines come from a prompt or a script, what happens goes to a renderer, and a
question to the user is a function it was given, or none in a script.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.errors import EXIT_OK, Bug, DwError, Interrupted, UsageError
from dw.events import Check, Checked, Command, Event, Executing, Run, Started
from dw.jobs import outcome
from dw.jobs.worker import EventStream, WorkerClient
from dw.repl.commands.registry import Call, Invocation, parse
from dw.repl.lexer import LexError, Word, decode_json, lex
from dw.repl.run_keys import Keys
from dw.repl.signals import Signals
from dw.repl.tracebacks import Tracebacks
from dw.repl.variables import Variables
from dw.settings import Settings
from dw.terminal.messages import EventMessages, reload_cost
from dw.terminal.renderer import OutputClosed, Renderer
from dw.types import Permissions
from dw.worker.client import Interrupt

if TYPE_CHECKING:
    from dw.jobs.workflow_arguments import OpenWorkflow
    from dw.workflow import Document, ValidationResult

Ask = Callable[[str, Callable[[], bool | None]], bool]

KILL_QUESTION = "kill the worker? its models are lost{} [y/N] "


class ExitShell(Exception):
    """The user wants to go, with this exit code."""

    def __init__(self, exit_code: int | None = None) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class AlreadyShown(Exception):
    """A command in a sourced file failed and was reported there; only its exit code goes on."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How a session goes about its work.

    `is_script`: nobody sits in front of it. `keep_going`: a failure does not end a script. `trust`:
    a workflow may use code and paths from anywhere. `summarizes`: a loaded workflow is shown.
    `shows_tracebacks`: the traceback of a failure follows it.
    """

    is_script: bool = False
    keep_going: bool = False
    trust: bool = False
    summarizes: bool = True
    shows_tracebacks: bool = False


DEFAULT_OPTIONS = SessionOptions()


@dataclass(frozen=True, slots=True)
class LastRequest:
    """The last run, whatever became of it, with the seed that it drew."""

    run: Run
    display: str  # how its file is shown
    timeout_s: float | None


class Session:
    """`ask` puts a yes-or-no question to the user; it is None where nobody can answer. It is also
    given a function that says when the answer is there without the user.
    """

    def __init__(
        self,
        client: WorkerClient,
        renderer: Renderer,
        settings: Settings,
        *,
        signals: Signals | None = None,
        options: SessionOptions = DEFAULT_OPTIONS,
        ask: Ask | None = None,
        keys: Keys | None = None,
    ) -> None:
        self.client = client
        self.renderer = renderer
        self.settings = settings
        self.configured: dict[str, None] = {}  # what `config` changed, in its order
        self.signals = signals or Signals()
        self.options = options
        self.variables = Variables()
        self.tracebacks = Tracebacks()
        self.open_workflow: OpenWorkflow | None = None
        self.worker_workflow: Path | None = None  # the workflow whose models the worker holds
        self.device: str | None = None  # as the worker last named it
        self.position: str | None = None  # `file:line` of the command that runs, in a script
        self.sources: list[Path] = []  # the files that are being run, outermost first
        self.keys = keys or Keys(None)
        self.last_request: LastRequest | None = None
        self._ask = ask
        self._told_keys = False

    # -------------------------------------------------------------- lines

    def execute(self, line: str) -> None:
        """Do what one line says. Raises DwError when that fails, Leave when it says so."""
        if words := lex(line):
            self.invoke(parse(words))

    def invoke(self, invocation: Invocation) -> None:
        invocation.command.function(self, self._call(invocation))

    def attempt(self, line: str | Sequence[Word], position: str | None = None) -> int:
        """Do it, show what went wrong, and return its exit code: nothing but leaving escapes.

        `position` is its `file:line` in a script, where an interrupt ends everything.
        """
        self.position = position
        try:
            words = lex(line) if isinstance(line, str) else line
            if words:
                self.invoke(parse(words))
        except (ExitShell, OutputClosed):
            raise
        except AlreadyShown as error:
            return error.exit_code
        except Interrupted as error:
            self.renderer.status(str(error))
            if self.options.is_script or self.signals.asks_to_leave:
                raise
            return error.exit_code
        except DwError as error:
            self.renderer.error(_placed(error, line), position=position, trace=error.trace)
            if self.options.shows_tracebacks and error.trace is not None:
                self.renderer.traceback(self.tracebacks.find(error.trace))
            return error.exit_code
        except Exception as error:
            return self._confess(error, position)
        return EXIT_OK

    def _confess(self, error: Exception, position: str | None) -> int:
        """A bug in dw: the session goes on, and the traceback is kept."""
        text = "".join(traceback.format_exception(error))
        number = self.client.next_id()
        self.tracebacks.keep(number, text)
        bug = Bug(f"a bug in dw: {type(error).__name__}: {error}")
        self.renderer.error(bug, position=position, trace=number)
        if self.options.is_script:
            self.renderer.warning(text)
        return bug.exit_code

    # -------------------------------------------------------------- the worker

    def request(self, command: Command, *, path: str = "", timeout_s: float | None = None) -> Event:
        """Have the worker do it and show its events. Returns the last, or raises it as DwError."""
        if isinstance(command, Run):
            self.last_request = LastRequest(command, path, timeout_s)
        handle = self.client.submit(command, timeout_s)
        messages = EventMessages(path, tells_keys=self.keys.are_read and not self._told_keys)
        event = self._follow(handle, messages, can_cancel=isinstance(command, Run))
        if text := outcome.trace(event):
            self.tracebacks.keep(event.run_id, text)
        if error := outcome.failure(event):
            error.trace = event.run_id if text else None
            raise error
        return event

    def _follow(self, handle: EventStream, messages: EventMessages, *, can_cancel: bool) -> Event:
        """Show the events. A signal cancels the run, and a second one kills the worker."""
        interrupts = 0
        last: Event | None = None
        with self.signals.waking(handle.interrupt), self._keys(handle.run_id, can_cancel):
            for event in handle:
                if isinstance(event, Interrupt):
                    if not can_cancel:
                        raise Interrupted("stopped waiting for the worker")
                    interrupts += 1
                    self._interrupt(handle.run_id, is_first=interrupts == 1)
                else:
                    last = event
                    self._note(event)
                    self.renderer.event(event, messages.lines(event))
        assert last is not None
        if interrupts and (self.options.is_script or self.signals.asks_to_leave):
            raise Interrupted(str(outcome.failure(last) or "interrupted"))
        return last

    def _keys(self, run_id: int, are_watched: bool) -> AbstractContextManager[None]:
        """While a run is shown, a key ends it early."""
        if not are_watched:
            return nullcontext()
        return self.keys.watched(lambda: self.client.stop_run(run_id))

    def _note(self, event: Event) -> None:
        """What the next runs need to know of this one."""
        if isinstance(event, Started) and self.last_request is not None:
            run = replace(self.last_request.run, seed=event.seed)
            self.last_request = replace(self.last_request, run=run)
        if isinstance(event, Executing):
            self._told_keys = True

    def _interrupt(self, run_id: int, *, is_first: bool) -> None:
        self.keys.forget()
        if is_first:
            self.client.cancel(run_id)
        elif self.signals.asks_to_leave or self._wants_kill(run_id):
            self._kill(run_id)
        elif self._is_running(run_id):
            self.renderer.status("The worker goes on")

    def _wants_kill(self, run_id: int) -> bool:
        question = KILL_QUESTION.format(reload_cost(self.client.status().reload_s))
        return self.ask(question, is_moot=lambda: not self._is_running(run_id))

    def _kill(self, run_id: int) -> None:
        if self._is_running(run_id):  # it may have ended while the question was open
            self.client.kill()

    def _is_running(self, run_id: int) -> bool:
        return self.client.status().run_id == run_id

    def ask(self, question: str, *, is_moot: Callable[[], bool] = bool) -> bool:
        """The user's yes or no; yes where nobody can be asked.

        A signal meanwhile means yes, and when the question has become moot the answer is no.
        """
        if self._ask is None:
            return True
        self.renderer.pause()
        insists = threading.Event()
        with self.keys.paused(), self.signals.waking(insists.set):
            return self._ask(
                question, lambda: True if insists.is_set() else False if is_moot() else None
            )

    @property
    def has_worker(self) -> bool:
        return self.client.status().state != "none"

    def stop_worker(self) -> None:
        """Let the worker leave, if there is one; its models go with it."""
        if self.has_worker:
            self.renderer.status("Shutting down worker process...")
            self.client.stop()
        self.worker_workflow = None

    def goodbye(self) -> None:
        """The end of the session, as the user sees it: no process of ours is left."""
        if self.has_worker:
            self.renderer.status("Shutting down worker process...")
        self.client.close()
        self.renderer.status("Goodbye!")

    # -------------------------------------------------------------- state

    @property
    def workflow(self) -> OpenWorkflow:
        """The open workflow. Raises UsageError when there is none."""
        if self.open_workflow is None:
            raise UsageError("no workflow is loaded", hints=["load NAME"])
        return self.open_workflow

    @property
    def last_seed(self) -> int | None:
        return self.variables.run.seed if self.variables.run else None

    @property
    def output_dir(self) -> Path:
        return Path(self.settings.output_dir).expanduser().absolute()

    def find(self, name: str) -> Path:
        """The file that a user means by `name`. Raises UsageError."""
        from dw.workflow import find_workflow

        return find_workflow(name, Path(self.settings.workflow_dir).expanduser())

    def read(self, path: Path) -> Document:
        """The workflow in the file at `path`. Raises WorkflowError with all its problems."""
        return self._judge(path).document_or_raise()

    def read_to_run(self, path: Path) -> Document:
        """Like `read`, but the problems are all that there are: the installed classes are asked,
        too, when the file is wrong. What is right is compared with them by the run itself."""
        judged = self._judge(path)
        if any(each.severity == "error" for each in judged.problems):
            judged = self._compared(judged)
        return judged.document_or_raise()

    def judge(self, path: Path) -> ValidationResult:
        """The workflow in a file, and all that is wrong with it at any stage of validation."""
        return self._compared(self._judge(path))

    def _judge(self, path: Path) -> ValidationResult:
        from dw.workflow import validate_file

        return validate_file(
            path,
            permissions=self.permissions,
            rehearse=self.settings.rehearse,
        )

    def _compared(self, judged: ValidationResult) -> ValidationResult:
        """With what a process that has the libraries imported, the standby, says of it."""
        if judged.document is None:
            return judged
        path, text = str(judged.path), judged.document.text  # from the same current folder
        device, rehearse = self.settings.device, self.settings.rehearse
        check = Check(self.client.next_id(), path, text, device, rehearse, self.permissions)
        checked = self.request(check)
        found = checked.problems if isinstance(checked, Checked) else ()
        return judged.with_more(found)

    @property
    def permissions(self) -> Permissions:
        """What a workflow may do: by the settings, and by `--trust`."""
        permissions = self.settings.permissions
        return replace(permissions, trust=True) if self.options.trust else permissions

    def warn(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.renderer.warning(line)

    def configure(self, settings: Settings) -> None:
        self.settings = settings
        self.client.apply(settings)

    # -------------------------------------------------------------- words to values

    def _call(self, invocation: Invocation) -> Call:
        lookup = self.variables.lookup
        return Call(
            words=tuple(word.expand(lookup) for word in invocation.words),
            given=tuple(
                (word.name, self.value(word)) for word in invocation.pairs if word.name is not None
            ),
            flags={name: word.expand(lookup) if word else "" for name, word in invocation.flags},
            rest=invocation.rest,
        )

    def value(self, word: Word) -> Any:
        """What stands after the `=`: text, the value of a JSON text, or either from a file."""
        text = word.expand(self.variables.lookup)
        if word.form in ("file", "json-file"):
            text = _read(text, str(word.name))
        return decode_json(text) if word.form in ("json", "json-file") else text


def _read(path: str, name: str) -> str:
    """The text of a file, without the newline that an editor puts at its end."""
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            f"{path} is not a text file", hints=[f"{name}={path}   passes the path"]
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _placed(error: DwError, line: str | Sequence[Word]) -> DwError:
    """A word that cannot be read is shown in its line, with a mark below it."""
    if isinstance(error, LexError) and isinstance(line, str):
        shown = line.split("\n")[error.line - 1]
        mark = " " * (error.column - 1) + "^"
        return UsageError(f"{error.message}\n  {shown}\n  {mark}", hints=error.hints)
    return error
