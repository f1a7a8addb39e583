"""`trace`, `help`, `exit`: the shell itself."""

from __future__ import annotations

from contextlib import suppress

from dw.errors import UsageError
from dw.repl import completion
from dw.repl.commands.registry import COMMANDS, Call, Parameter, ShellCommand, command, find_command
from dw.repl.session import ExitShell, Session
from dw.run_record import find_past, read_past
from dw.terminal.table import aligned, indented

MAX_EXIT_CODE = 125  # shells use higher codes for signals and their own errors


@command(
    "trace",
    "the full traceback of a failure, by default of the last one",
    Parameter("N", "the number of the run", source=completion.runs),
    example="trace 3",
)
def trace(session: Session, call: Call) -> None:
    kept, number = session.monitor.tracebacks, _number(call.word, "trace")
    if number not in kept and (recorded := _recorded_trace(session, number)) is not None:
        session.renderer.result(recorded)
    else:
        session.renderer.result(kept.find(number))


def _recorded_trace(session: Session, number: int | None) -> str | None:
    """That of a run, by default of the last one that failed, in whichever session."""
    if number is not None:
        with suppress(UsageError):
            found = find_past(session.output_dir, str(number)).facts.get("trace")
            return None if found is None else str(found)
        return None
    from dw.run_index import RunIndex

    with RunIndex(session.output_dir) as index:
        for run in reversed(index.search()[0]):
            if run.state in ("failed", "died"):
                record = read_past(run.folder)
                if record is not None and record.facts.get("trace"):
                    return str(record.facts["trace"])
    return None


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
