"""`edit`: the workflow's file in the user's editor."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path

from dw.errors import UsageError
from dw.repl import completion
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.terminal.messages import display_path

_TAKE_A_LINE = ("vi", "vim", "nvim", "nano", "emacs", "emacsclient", "micro", "joe", "kak", "pico")
"""Editors that `+12 FILE` opens at that line."""

_TAKE_A_PLACE = {"code": "--goto", "codium": "--goto", "subl": "", "hx": "", "zed": ""}
"""Editors that open `FILE:12`, after this option."""


@command(
    "edit",
    "open the workflow in $VISUAL or $EDITOR, at the line of the last error in it",
    Parameter("NAME", "another workflow than the current one", source=completion.workflows),
    example="edit",
)
def edit(session: Session, call: Call) -> None:
    if session.options.is_script:
        raise UsageError("edit needs a prompt")
    problem = session.last_problem
    if call.word:
        path = session.files.find(call.word)
    elif problem is not None and session.open_workflow is None:
        path = Path(problem.path)
    else:
        path = session.workflow.path
    is_there = problem is not None and Path(problem.path).resolve() == path.resolve()
    command = editor_command(path, problem.line if problem is not None and is_there else None)
    with session.monitor.signals.waking(lambda: None):  # Ctrl-C is the editor's
        try:
            code = subprocess.run(command, check=False).returncode
        except OSError as error:
            raise UsageError(
                f"cannot start the editor {command[0]!r}: {error.strerror}",
                hints=["EDITOR=nano dw   names another one"],
            ) from None
    if code:
        session.renderer.warning(f"{command[0]} ended with the code {code}")
    session.renderer.status(f"{display_path(path)} is read again at the next run")


def editor_command(path: Path, line: int | None) -> list[str]:
    """What opens a file at a line. Raises UsageError when no editor is set."""
    setting = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    try:
        editor = shlex.split(setting or "vi")
    except ValueError as error:
        raise UsageError(f"VISUAL or EDITOR is no command: {error}") from None
    name = Path(editor[0]).name
    if line is None:
        return [*editor, str(path)]
    if name in _TAKE_A_LINE:
        return [*editor, f"+{line}", str(path)]
    if name in _TAKE_A_PLACE:
        option = [_TAKE_A_PLACE[name]] if _TAKE_A_PLACE[name] else []
        return [*editor, *option, f"{path}:{line}"]
    return [*editor, str(path)]
