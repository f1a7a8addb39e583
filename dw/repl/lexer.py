"""Words: from a line, or a whole script, to statements of words with their positions.

    statement = { word } [ comment ] newline
    word      = value | name "=" value | name "=@" value | name ":=" json | name ":=@" value
    value     = bare | "'" raw "'" | '"' escaped '"' | '\"\"\"' ... '\"\"\"'
    bare      = any run of characters that are not blank: quotes and backslashes in it are literal

`it's`, `C:\\models` and `tag=#1` are three plain words, which `shlex` reads differently. `${name}`
stands for a variable in every value except '...', and `$${` for a literal `${`. A line that ends in
`\\` continues on the next line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from dw.console.assignment import Form, match_head
from dw.errors import UsageError

BLANKS = " \t\r"
VARIABLE = re.compile(r"\$\$\{|\$\{([A-Za-z_][\w.-]*)\}|\$\{")
CONTINUED = re.compile(r"\\[ \t\r]*\n")
ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "t": "\t"}


class LexError(UsageError):
    """A syntax error at `line` and `column`, from 1. `incomplete`: more text may complete it."""

    def __init__(
        self,
        message: str,
        text: str,
        offset: int,
        *,
        incomplete: bool = False,
        hints: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message, hints=hints)
        self.offset = offset
        self.line = text.count("\n", 0, offset) + 1
        self.column = offset - text.rfind("\n", 0, offset)
        self.incomplete = incomplete


@dataclass(frozen=True, slots=True)
class Variable:
    """A `${name}` in a word, not yet replaced."""

    name: str


@dataclass(frozen=True, slots=True)
class Word:
    """One word. `pieces` are its text, quotes and escapes resolved; `name` stands before the `=`.

    `form`: the value is the text itself, JSON, or the text or JSON of the file that it names.
    """

    pieces: tuple[str | Variable, ...]
    start: int
    end: int
    name: str | None = None
    form: Form = "text"
    is_quoted: bool = False

    @property
    def text(self) -> str:
        return "".join(p if isinstance(p, str) else f"${{{p.name}}}" for p in self.pieces)

    def expand(self, lookup: Callable[[str], str]) -> str:
        """The text with each variable replaced by what `lookup` gives for its name."""
        return "".join(p if isinstance(p, str) else lookup(p.name) for p in self.pieces)


@dataclass(frozen=True, slots=True)
class Statement:
    """One command: its words, its text, and the line (from 1) on which it begins."""

    words: tuple[Word, ...]
    text: str
    line: int


def lex(text: str) -> tuple[Word, ...]:
    """The words of one command. Raises LexError."""
    statements, errors = lex_script(text)
    if errors:
        raise errors[0]
    if len(statements) > 1:
        raise UsageError(
            "one command a line", hints=['a text of several lines goes between """ and """']
        )
    return statements[0].words if statements else ()


def lex_script(text: str) -> tuple[list[Statement], list[LexError]]:
    """The statements of `text` and its syntax errors, at most one per line."""
    scanner = _Scanner(text)
    statements: list[Statement] = []
    errors: list[LexError] = []
    while not scanner.at_end:
        try:
            if statement := scanner.statement():
                statements.append(statement)
        except LexError as error:
            errors.append(error)
            scanner.skip_line()
            if error.incomplete:  # the rest belongs to the open text
                break
    return statements, errors


def shell_word(text: str) -> Word:
    """A word of our own command line, whose quotes the system's shell has already removed."""
    name, form, start = match_head(text) or (None, "text", 0)
    return Word((text[start:],), 0, len(text), name, form)


def quote(text: str) -> str:
    """A word that reads as `text`.

    >>> quote('a "red" fox')
    '"a \\\\"red\\\\" fox"'
    """
    is_bare = text and not re.search(r"[ \t\r\n]|\$\{|\\$", text)
    if is_bare and text[0] not in "\"'#@\\" and not match_head(text):
        return text
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    )
    return '"' + escaped.replace("${", "$${") + '"'


class _Scanner:
    """Reads a text one statement at a time."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0

    @property
    def at_end(self) -> bool:
        return self.offset >= len(self.text)

    def statement(self) -> Statement | None:
        """The statement that begins here, or None for an empty line."""
        words = tuple(self._words())
        self.offset += 1  # the newline
        if not words:
            return None
        start, end = words[0].start, words[-1].end
        return Statement(words, self.text[start:end], self.text.count("\n", 0, start) + 1)

    def skip_line(self) -> None:
        newline = self.text.find("\n", self.offset)
        self.offset = len(self.text) if newline < 0 else newline + 1

    def _words(self) -> Iterator[Word]:
        while True:
            self._skip_blanks()
            if self.at_end or self.text[self.offset] == "\n":
                return
            if self.text[self.offset] == "#":
                newline = self.text.find("\n", self.offset)
                self.offset = len(self.text) if newline < 0 else newline
                return
            yield self._word()

    def _skip_blanks(self) -> None:
        while not self.at_end:
            if self.text[self.offset] in BLANKS:
                self.offset += 1
            elif match := CONTINUED.match(self.text, self.offset):
                self.offset = match.end()
            else:
                return

    def _word(self) -> Word:
        start = self.offset
        name, form, self.offset = match_head(self.text, start) or (None, "text", start)
        if form == "json":
            pieces: tuple[str | Variable, ...] = (self._json(),)
            return Word(pieces, start, self.offset, name, "json")
        is_quoted = self._sees('"') or self._sees("'")
        return Word(self._value(), start, self.offset, name, form, is_quoted)

    def _sees(self, mark: str) -> bool:
        return self.text.startswith(mark, self.offset)

    def _value(self) -> tuple[str | Variable, ...]:
        if self._sees('"""'):
            return self._variables(*self._until('"""'))
        if self._sees('"'):
            return self._escaped()
        if self._sees("'"):
            raw, _ = self._until("'")
            return (raw,)
        return self._bare()

    def _bare(self) -> tuple[str | Variable, ...]:
        start = self.offset
        while not self.at_end and self.text[self.offset] not in BLANKS + "\n":
            self.offset += 1
        return self._variables(self.text[start : self.offset], start)

    def _until(self, mark: str) -> tuple[str, int]:
        """The raw text up to the closing `mark`, and the offset of its start."""
        opened, start = self.offset, self.offset + len(mark)
        end = self.text.find(mark, start)
        newline = self.text.find("\n", start)
        is_long = len(mark) == 3
        if end < 0 or (not is_long and 0 <= newline < end):
            raise LexError(f"this {mark} is never closed", self.text, opened, incomplete=is_long)
        self._close(end + len(mark))
        return self.text[start:end], start

    def _escaped(self) -> tuple[str | Variable, ...]:
        opened = start = self.offset
        pieces: list[str | Variable] = []
        self.offset = start = self.offset + 1
        while not self.at_end and self.text[self.offset] not in '"\n':
            mark, code = self.text[self.offset], self.text[self.offset + 1 : self.offset + 2]
            if mark == "\\" and code in ESCAPES:
                pieces += self._variables(self.text[start : self.offset], start)
                pieces.append(ESCAPES[code])
                self.offset = start = self.offset + 2
            else:
                self.offset += 1
        if not self._sees('"'):
            raise LexError('this " is never closed', self.text, opened)
        pieces += self._variables(self.text[start : self.offset], start)
        self._close(self.offset + 1)
        return tuple(pieces)

    def _close(self, end: int) -> None:
        if end < len(self.text) and self.text[end] not in BLANKS + "\n":
            raise LexError("a blank is missing after the closing quote", self.text, end)
        self.offset = end

    def _json(self) -> str:
        try:
            _, end = json.JSONDecoder().raw_decode(self.text, self.offset)
        except RecursionError:
            raise LexError("the JSON is nested too deep", self.text, self.offset) from None
        except json.JSONDecodeError as error:
            is_open = error.pos >= len(self.text) and self.text[self.offset : self.offset + 1] in {
                "[",
                "{",
            }
            raise LexError(
                f"not valid JSON after :=, {error.msg.lower()}",
                self.text,
                error.pos,
                incomplete=is_open,
            ) from None
        text = self.text[self.offset : end]
        self._close(end)
        return text

    def _variables(self, text: str, start: int) -> tuple[str | Variable, ...]:
        """`text`, which begins at offset `start`, split at its variables `${name}`."""
        pieces: list[str | Variable] = []
        last = 0
        for match in VARIABLE.finditer(text):
            pieces.append(text[last : match.start()])
            last = match.end()
            if match[0] == "$${":
                pieces.append("${")
            elif match[1] is None:
                raise LexError(
                    "this ${ does not begin a variable such as ${run.output}",
                    self.text,
                    start + match.start(),
                    hints=("write $${ for the two characters themselves",),
                )
            else:
                pieces.append(Variable(match[1]))
        return tuple(p for p in (*pieces, text[last:]) if p != "") or ("",)
