"""The shell as a program: from its command line to a session at a prompt or in a script.

Where to go next: script.py and prompt.py read lines, session.py executes one, lexer.py and
commands/registry.py parse it, and the files in commands/ hold the commands. console/program.py is
the program from its start to its exit code, console/run_monitor.py the exchange with the worker.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dw.console.program import Connect, Program, connect_worker, make_renderer
from dw.console.run_keys import Keys
from dw.errors import EXIT_OK, UsageError
from dw.repl import script
from dw.repl.lexer import Word
from dw.repl.options import ShellOptions, shell_options
from dw.repl.session import ExitShell, Session, SessionOptions
from dw.short_text import as_text
from dw.terminal.capabilities import Terminal, ask
from dw.terminal.remedies import SHELL

if TYPE_CHECKING:
    from dw.console.signals import Signals
    from dw.jobs.worker import WorkerClient
    from dw.settings import Settings


def main(argv: Sequence[str] | None = None, connect: Connect = connect_worker) -> int:
    """The shell: a prompt at a terminal, a script otherwise. Returns the exit code."""
    options = shell_options(argv)
    terminal = Terminal.here()
    wants_prompt = options.interactive or not (options.scripts or options.program.output.json)
    has_prompt = terminal.is_interactive and wants_prompt
    renderer = make_renderer(options.program.output, terminal, SHELL, for_people=has_prompt)

    def answer(question: str, decided: Callable[[], bool | None]) -> bool:
        return options.program.yes or ask(question, decided)

    def work(client: WorkerClient, settings: Settings, signals: Signals) -> int:
        import dw.repl.commands.all  # noqa: F401 - fills the registry while the standby starts

        session = Session(
            client,
            renderer,
            settings,
            options=SessionOptions(
                is_script=not has_prompt,
                keep_going=options.keep_going,
                trust=options.program.trust,
            ),
            signals=signals,
            keys=Keys.of_stdin() if has_prompt else None,
            ask=answer if has_prompt else None,
        )
        try:
            if has_prompt:
                return _interact(session, options, terminal)
            return _script(session, options)
        except ExitShell as leave:
            session.goodbye()
            return leave.exit_code or EXIT_OK

    return Program(options.program, renderer, connect).run(work)


def _interact(session: Session, options: ShellOptions, terminal: Terminal) -> int:
    from dw.repl.prompt import interact

    _open(session, options)
    script.run(session, _scripts(options.scripts))
    return interact(session, terminal)


def _script(session: Session, options: ShellOptions) -> int:
    if options.interactive:
        raise UsageError("--interactive needs a terminal")
    scripts = _scripts(options.scripts or (("--script", "-"),))
    code = _open(session, options) or script.run(session, scripts)
    behind = session.attempt((_word("wait"),))  # a script ends with all of its runs
    return code or behind


def _open(session: Session, options: ShellOptions) -> int:
    """Load the workflow of the command line with its arguments. Returns the exit code."""
    for word in options.arguments:
        session.variables.user[str(word.name)] = as_text(session.variables.value(word))
    if options.workflow is None:
        return EXIT_OK
    return session.attempt((_word("load"), _word(options.workflow), *options.arguments))


def _scripts(given: Sequence[tuple[str, str]]) -> list[script.Script]:
    """The texts of `-c` and the files of `--script`, in the order given."""
    texts = iter(script.commands([text for kind, text in given if kind == "-c"]))
    return [next(texts) if kind == "-c" else script.read(text) for kind, text in given]


def _word(text: str) -> Word:
    return Word((text,), 0, len(text), is_quoted=True)
