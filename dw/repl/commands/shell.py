"""`trace`, `help`, `exit`: the shell itself."""

from __future__ import annotations

from dw.errors import UsageError
from dw.repl import completion
from dw.repl.commands.registry import COMMANDS, Call, Parameter, ShellCommand, command, find_command
from dw.repl.session import ExitShell, Session
from dw.terminal.table import aligned, indented

MAX_EXIT_CODE = 125  # shells use higher codes for signals and their own errors


@command(
    "trace",
    "the full traceback of a failure, by default of the last one",
    Parameter("N", "the number that the error named"),
    example="trace 3",
)
def trace(session: Session, call: Call) -> None:
    session.renderer.result(session.monitor.tracebacks.find(_number(call.word, "trace")))


@command(
    "help",
    "the commands, or all about one of them",
    Parameter("COMMAND", "its name", source=completion.commands),
    example="help run",
    aliases=("?",),
)
def help_(session: Session, call: Call) -> None:
    if name := call.word:
        for line in describe(find_command(name), session.renderer.width):
            session.renderer.result(line)
    else:
        rows = [(each.name, each.doc) for each in COMMANDS.values()]
        session.renderer.table(("command", "does"), rows)


@command(
    "exit",
    "leave the shell; the worker goes with it",
    Parameter("N", "the exit code"),
    example="exit",
    aliases=("quit",),
)
def exit_(_session: Session, call: Call) -> None:
    code = _number(call.word, "exit")
    if code is not None and code > MAX_EXIT_CODE:
        raise UsageError(f"exit must be from 0 to {MAX_EXIT_CODE}, got {code}")
    raise ExitShell(code)


def describe(found: ShellCommand, width: int | None = None) -> list[str]:
    """All about one command, in lines that fit into `width` cells."""
    lines = [f"usage: {found.usage}", *indented(found.doc, width)]
    if found.takes:
        lines += aligned(("takes", ""), [(p.name, p.doc) for p in found.takes], width)[1:]
    lines += [f"  example: {found.example}"]
    return [*lines, f"  also: {', '.join(found.aliases)}"] if found.aliases else lines


def _number(text: str | None, name: str) -> int | None:
    if text is not None and not (text.isascii() and text.isdigit()):
        raise UsageError(f"{name} takes a number, got {text!r}")
    return None if text is None else int(text)
