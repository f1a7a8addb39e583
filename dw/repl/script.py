"""Scripts: commands in a file or text, checked as a whole before the first one runs.

A script stops at the first command that fails, and its exit code is that command's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from dw.errors import EXIT_OK, DwError, UsageError
from dw.refusals import reason
from dw.repl.commands.registry import parse
from dw.repl.lexer import LexError, Statement, lex_script
from dw.repl.session import ExitShell, Session
from dw.text_files import NotUtf8, decoded, read_bytes


@dataclass(frozen=True, slots=True)
class Script:
    """`name` stands before the line number in messages; `path` is None without a file."""

    name: str
    text: str
    path: Path | None = None

    def statements(self) -> tuple[list[Statement], list[LexError]]:
        return lex_script(self.text)


def read(name: str) -> Script:
    """The script in a file, or for `-` on standard input. Raises UsageError if it is unreadable."""
    try:
        if name == "-":
            if sys.stdin is None:
                raise UsageError("cannot read -: standard input is closed")
            return Script("<stdin>", _normal(sys.stdin.buffer.read()))
        path = Path(name).expanduser()
        return Script(name, _normal(read_bytes(path, may_be_pipe=True)), path.resolve())
    except NotUtf8 as error:
        raise UsageError(str(error), where=error.where(name)) from None
    except OSError as error:
        raise UsageError(f"cannot read {name}: {reason(error)}") from None


def _normal(data: bytes) -> str:
    """Its text with plain newlines. Raises NotUtf8."""
    return decoded(data).replace("\r\n", "\n")


def commands(texts: Sequence[str]) -> list[Script]:
    """The texts of `-c`, numbered when there are several."""
    if len(texts) == 1:
        return [Script("<command>", texts[0])]
    return [Script(f"<command {number}>", text) for number, text in enumerate(texts, start=1)]


def check(script: Script) -> Iterator[tuple[str, DwError]]:
    """Every error in the grammar of the commands, with its position."""
    statements, errors = script.statements()
    found: list[tuple[int, DwError]] = [
        (each.line, UsageError(f"{each.message} (column {each.column})", hints=each.hints))
        for each in errors
    ]
    for statement in statements:
        try:
            parse(statement.words)
        except DwError as error:
            found.append((statement.line, error))
    for line, problem in sorted(found, key=lambda each: each[0]):
        yield f"{script.name}:{line}", problem


def run(session: Session, scripts: Sequence[Script]) -> int:
    """Run them in order. Returns the exit code of the first failure. Raises ExitShell at `exit`."""
    wrong = [problem for script in scripts for problem in check(script)]
    for position, error in wrong:
        session.renderer.error(error, position=position)
    if wrong:
        return wrong[0][1].exit_code
    failures: list[int] = []
    try:
        for script in scripts:
            with _sourcing(session, script):
                for statement in script.statements()[0]:
                    position = f"{script.name}:{statement.line}"
                    session.renderer.command(statement.text, position)
                    code = session.attempt(statement.words, position)
                    failures += [code] if code else []
                    if code and not session.options.keep_going:
                        return code
    except ExitShell as leave:
        if leave.exit_code is None and failures:
            raise ExitShell(failures[0]) from None
        raise
    return failures[0] if failures else EXIT_OK


@contextmanager
def _sourcing(session: Session, script: Script) -> Iterator[None]:
    """Keep track of the files being run. Raises UsageError for a file that sources itself."""
    if script.path is None:
        yield
        return
    if script.path in session.sources:
        raise UsageError(f"{script.name} sources itself")
    session.sources.append(script.path)
    try:
        yield
    finally:
        session.sources.pop()
