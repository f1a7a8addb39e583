"""The prompt at a terminal: keys, history, completion and the line at the bottom."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterable
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any

from platformdirs import user_state_path
from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, run_in_terminal
from prompt_toolkit.auto_suggest import AutoSuggestFromHistory
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.input.vt100_parser import Vt100Parser
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.output import ColorDepth
from prompt_toolkit.styles import Style

from dw.errors import EXIT_OK
from dw.refusals import reason
from dw.repl.completion import complete
from dw.repl.lexer import lex_script
from dw.repl.session import Session
from dw.terminal.capabilities import Terminal
from dw.terminal.renderer import GONE, OutputClosed

PROMPT = "dw> "
HOW_TO_LEAVE = "(Ctrl-D or exit to leave)"
TOOLBAR_REFRESH_S = 1.0  # the state of the worker changes without a key press


def interact(session: Session, terminal: Terminal) -> int:
    """Read and execute lines until the user leaves. Raises ExitShell at `exit`."""
    prompt = make_prompt(session, terminal)
    is_told = False
    while True:
        try:
            trouble = getattr(prompt.history, "trouble", None)
            if trouble is not None and not is_told:
                is_told = True
                session.renderer.warning(
                    f"the lines that you type are not kept for the next sessions: {reason(trouble)}"
                )
            type_ahead(prompt, session.monitor.keys.typed_ahead())
            do(session, _line(prompt, session))
        except EOFError:
            session.goodbye()
            return EXIT_OK
        except OSError as error:
            if error.errno in GONE:
                raise OutputClosed from None
            raise
        except KeyboardInterrupt:
            if session.monitor.signals.asks_to_leave:
                raise
            session.renderer.status("interrupted")


def _line(prompt: PromptSession[str], session: Session) -> str:
    """What the user types. Raises KeyboardInterrupt at a signal, when the terminal is as it was: in
    the middle of prompt_toolkit's code the exception could leave its modes changed."""
    app = prompt.app
    received: list[None] = []

    def leave() -> None:
        if app.future is not None and not app.future.done():
            app.exit(exception=KeyboardInterrupt)

    def wake() -> None:
        received.append(None)
        if app.loop is not None:
            app.loop.call_soon_threadsafe(leave)

    def begin() -> None:
        loop, here = app.loop, copy_context()  # in which this is the application

        def announce() -> None:
            if loop is not None and not loop.is_closed():
                show = partial(run_in_terminal, session.show_notices)
                loop.call_soon_threadsafe(show, context=here.copy())

        session.background.announce = announce
        if received:  # before there was a loop
            leave()
        announce()

    with session.monitor.signals.waking(wake):
        try:
            line = prompt.prompt(PROMPT, pre_run=begin)
        finally:
            session.background.announce = lambda: None
    if received:
        raise KeyboardInterrupt
    return line


def type_ahead(prompt: PromptSession[str], text: str) -> None:
    """Feed these keys to the prompt before those that the user types next."""
    presses: list[KeyPress] = []
    parser = Vt100Parser(presses.append)
    parser.feed(text.replace("\n", "\r"))
    parser.flush()
    store_typeahead(prompt.app.input, presses)


def do(session: Session, text: str) -> None:
    """Execute one input. A pasted text may hold several commands; the first failure ends them."""
    if text.lstrip().startswith("!"):
        _run_outside(session, text.lstrip()[1:])
        return
    statements, errors = lex_script(text)
    if errors or len(statements) < 2:
        session.attempt(text)
        return
    for statement in statements:
        if session.attempt(statement.words):
            return


def _run_outside(session: Session, line: str) -> None:
    """A command of the system's shell, at this terminal."""
    with session.monitor.signals.waking(lambda: None):  # Ctrl-C is the command's
        code = subprocess.run(line, shell=True, check=False).returncode
    if code:
        session.renderer.status(f"exit code {code}")


def make_prompt(session: Session, terminal: Terminal, **connections: Any) -> PromptSession[str]:
    """`connections`: prompt_toolkit's `input` and `output`, by default the terminal."""
    moves = not terminal.is_simple
    prompt: PromptSession[str] = PromptSession(
        history=_history(),
        enable_history_search=True,  # Up finds lines that begin with the typed text
        auto_suggest=AutoSuggestFromHistory() if moves else None,
        completer=_Completer(session),
        complete_while_typing=False,
        complete_in_thread=True,
        bottom_toolbar=(lambda: toolbar(session)) if moves else None,
        refresh_interval=TOOLBAR_REFRESH_S if moves else 0,
        key_bindings=_keys(),
        multiline=Condition(_is_incomplete),
        style=Style.from_dict({"bottom-toolbar": "noreverse"}),
        color_depth=None if terminal.color("auto", for_people=True) else ColorDepth.DEPTH_1_BIT,
        enable_open_in_editor=True,
        **connections,
    )
    if os.name == "posix":
        from dw.repl.terminal_input import end_on_errors

        end_on_errors(prompt.app.input)
    return prompt


def toolbar(session: Session) -> str:
    """Workflow, arguments, worker, device. It never raises: that would stop prompt_toolkit."""
    try:
        return " " + " · ".join(_fields(session))
    except Exception as error:
        return f" {type(error).__name__} in the toolbar"


def _fields(session: Session) -> Iterable[str]:
    if session.open_workflow is None:
        yield "no workflow"
    else:
        yield session.open_workflow.name
        if count := len(session.open_workflow.changed()):
            yield f"{count} set"
    status = session.client.status()
    is_warming = status.state == "none" and status.standby_pid is not None
    yield "worker: standby" if is_warming else f"worker: {status.state}"
    yield session.device or session.settings.device
    if jobs := session.background.jobs:
        yield f"{len(jobs)} in the background"
    if session.settings.rehearse:
        yield "rehearsal"


class _Completer(Completer):
    def __init__(self, session: Session) -> None:
        self._session = session

    def get_completions(
        self,
        document: Document,
        complete_event: CompleteEvent,  # noqa: ARG002 - prompt_toolkit's signature
    ) -> Iterable[Completion]:
        before = document.text_before_cursor
        start, found = complete(self._session, before)
        for each in found:
            is_whole = len(found) == 1 and not each.text.endswith(("=", "/"))
            yield Completion(
                each.text + " " * (is_whole and not document.text_after_cursor.startswith(" ")),
                start - len(before),
                display=each.text,
                display_meta=each.meta,
            )


class _History(FileHistory):
    """The typed lines, except those that begin with a blank, for the next sessions as well.

    `trouble`: why they are not kept any longer, once; a full disk loses only them.
    """

    trouble: OSError | None = None

    def append_string(self, string: str) -> None:
        if not string.startswith(" "):
            super().append_string(string)

    def store_string(self, string: str) -> None:
        try:
            super().store_string(string)
        except OSError as error:
            self.trouble = self.trouble or error


def _history() -> _History:
    file = Path(user_state_path("dw", appauthor=False), "history")
    history = _History(str(file))
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.chmod(0o600)  # an earlier version may have made it
    except OSError as error:
        history.trouble = error
    return history


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-c")
    def _clear(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.text or buffer.complete_state:
            buffer.reset()
        else:
            run_in_terminal(lambda: event.app.output.write(HOW_TO_LEAVE + "\n"))

    if hasattr(signal, "SIGQUIT"):

        @keys.add("c-\\")
        def _quit(_event: KeyPressEvent) -> None:
            os.kill(os.getpid(), signal.SIGQUIT)  # as outside the prompt, where it is no key

    return keys


def _is_incomplete() -> bool:
    """Whether Enter inserts a newline: a text in triple quotes or a JSON value is still open."""
    text = get_app().current_buffer.text
    _, errors = lex_script("" if text.lstrip().startswith("!") else text)
    return any(error.incomplete for error in errors)
