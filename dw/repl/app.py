"""From a command line to a session, and from its end to an exit code."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dw.errors import EXIT_OK, EXIT_SIGPIPE, Bug, DwError, Interrupted, UsageError
from dw.repl import script
from dw.repl.lexer import Word
from dw.repl.options import Options, OutputOptions, repl_options, run_options
from dw.repl.run_keys import Keys
from dw.repl.session import ExitShell, Session, SessionOptions
from dw.repl.signals import Signals, end_by
from dw.settings import Settings, load_settings
from dw.terminal.capabilities import Terminal, ask
from dw.terminal.ndjson import JsonRenderer
from dw.terminal.plain import PlainRenderer
from dw.terminal.remedies import PROGRAM, PROGRAM_WITH_TRACEBACKS, SHELL, Wording
from dw.terminal.renderer import OutputClosed, Renderer, Stream
from dw.terminal.table import as_text

if TYPE_CHECKING:
    from dw.jobs.worker import WorkerClient

Connect = Callable[[Settings], "WorkerClient"]
Work = Callable[[Session], int]


def connect_worker(settings: Settings) -> WorkerClient:
    from dw.worker.client import LocalWorkerClient

    return LocalWorkerClient(settings)


def main(argv: Sequence[str] | None = None, connect: Connect = connect_worker) -> int:
    """The shell: a prompt at a terminal, a script otherwise. Returns the exit code."""
    options = repl_options(argv)
    terminal = Terminal.here()
    wants_prompt = options.interactive or not (options.scripts or options.look.json)
    has_prompt = terminal.is_interactive and wants_prompt
    renderer = make_renderer(options.look, terminal, for_people=has_prompt)
    program = Program(options, renderer, connect, has_prompt=has_prompt)
    if has_prompt:
        return program.run(lambda session: _interact(session, options, terminal))
    return program.run(lambda session: _script(session, options))


def run_main(argv: Sequence[str] | None = None, connect: Connect = connect_worker) -> int:
    """`python -m dw.run`: load one workflow, run it, leave. Returns the exit code."""
    options = run_options(argv)
    terminal = Terminal.here()
    renderer = make_renderer(
        options.look,
        terminal,
        for_people=terminal.has_output,
        wording=PROGRAM_WITH_TRACEBACKS if options.traceback else PROGRAM,
    )
    program = Program(options, renderer, connect, summarizes=False)
    return program.run(lambda session: _run_once(session, options))


def make_renderer(
    look: OutputOptions, terminal: Terminal, *, for_people: bool, wording: Wording = SHELL
) -> Renderer:
    """Machines get JSON, people one stream with a bar below it, scripts lines on two streams."""
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    if look.json:
        return JsonRenderer(out, err, wording)
    color = terminal.color(look.color, for_people=for_people)
    shows = terminal.has_output and not (look.plain or look.quiet)
    environment = terminal.environment if shows else None
    if for_people and not (look.plain or look.quiet or terminal.is_simple):
        from dw.terminal.live import LiveRenderer

        return LiveRenderer(out, color=color, echo=look.echo, terminal=environment, wording=wording)
    messages = out if for_people else err
    return PlainRenderer(
        out,
        messages,
        for_people=for_people,
        color=color,
        quiet=look.quiet,
        echo=look.echo,
        terminal=environment,
        wording=wording,
    )


# ------------------------------------------------------------------ what a session is for


def _interact(session: Session, options: Options, terminal: Terminal) -> int:
    from dw.repl.prompt import interact

    _open(session, options)
    script.run(session, _scripts(options.scripts))
    return interact(session, terminal)


def _script(session: Session, options: Options) -> int:
    if options.interactive:
        raise UsageError("--interactive needs a terminal")
    scripts = _scripts(options.scripts or (("--script", "-"),))
    return _open(session, options) or script.run(session, scripts)


def _run_once(session: Session, options: Options) -> int:
    load = (_word("load"), _word(str(options.workflow)))
    return session.attempt(load) or session.attempt((_word("run"), *options.arguments))


def _open(session: Session, options: Options) -> int:
    """The workflow and the arguments that the command line names."""
    for word in options.arguments:
        session.variables.user[str(word.name)] = as_text(session.value(word))
    if options.workflow is None:
        return EXIT_OK
    return session.attempt((_word("load"), _word(options.workflow), *options.arguments))


def _scripts(given: Sequence[tuple[str, str]]) -> list[script.Script]:
    """The texts of `-c` and the files of `--script`, in their order."""
    texts = iter(script.commands([text for kind, text in given if kind == "-c"]))
    return [next(texts) if kind == "-c" else script.read(text) for kind, text in given]


def _word(text: str) -> Word:
    return Word((text,), 0, len(text), is_quoted=True)


# ------------------------------------------------------------------ its life


@dataclass(frozen=True)
class Program:
    """One use of the shell. No process of ours is left when `run` returns, whatever happened."""

    options: Options
    renderer: Renderer
    connect: Connect
    has_prompt: bool = False
    summarizes: bool = True

    def run(self, work: Work) -> int:
        """Do the work in a session. Returns its exit code, or ends by the signal that ended it."""
        with Signals() as signals:
            try:
                return self._announced(signals, work)
            except OutputClosed:
                _forget_output()
                return EXIT_SIGPIPE
            except (KeyboardInterrupt, Interrupted):
                number = signals.received or signal.SIGINT
        end_by(number)
        return 128 + number

    def _announced(self, signals: Signals, work: Work) -> int:
        code = Bug.exit_code
        try:
            code = self._reported(signals, work)
        except (KeyboardInterrupt, Interrupted):
            code = 128 + (signals.received or signal.SIGINT)
            raise
        finally:
            with suppress(OutputClosed, DwError):
                self.renderer.end(code)
        return code

    def _reported(self, signals: Signals, work: Work) -> int:
        try:
            self.renderer.begin()
            return self._connected(signals, work)
        except (OutputClosed, Interrupted):
            raise
        except DwError as error:
            with suppress(DwError):  # it may be about the very stream that says it
                self.renderer.error(error)
            return error.exit_code
        except Exception:
            self.renderer.warning(traceback.format_exc())
            return Bug.exit_code

    def _connected(self, signals: Signals, work: Work) -> int:
        settings = self.options.apply(load_settings())
        with closing(self.connect(settings)) as client:
            import dw.repl.commands  # noqa: F401 - while the standby starts; it fills the registry

            session = Session(
                client,
                self.renderer,
                settings,
                signals=signals,
                options=SessionOptions(
                    is_script=not self.has_prompt,
                    keep_going=self.options.keep_going,
                    trust=self.options.trust,
                    summarizes=self.summarizes,
                    shows_tracebacks=self.options.traceback,
                ),
                ask=self._ask if self.has_prompt else None,
                keys=Keys.of_stdin() if self.has_prompt else None,
            )
            try:
                return work(session)
            except ExitShell as leave:
                session.goodbye()
                return leave.exit_code or EXIT_OK

    def _ask(self, question: str, decided: Callable[[], bool | None]) -> bool:
        return self.options.yes or ask(question, decided)


def _forget_output() -> None:
    """Nobody reads it: what Python flushes at its end goes nowhere, without a complaint."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
