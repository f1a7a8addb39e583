"""JSONC: JSON with `//` and `/* */` comments and trailing commas, and the offsets of its parts.

One pass over the unchanged text gives both data and offsets, so that no comment shifts them.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from dw.errors import did_you_mean
from dw.workflow.diagnostics import DataDiagnostic
from dw.workflow.json_path import JsonPath

DEPTH_LIMIT = 100
"""Objects and lists inside one another: workflows need about 10, Python's stack ends near 1,000."""

_SPACE = re.compile(r"(?:[ \t\r\n]++|//[^\n]*+|/\*.*?\*/)*+", re.DOTALL)
_WORD = re.compile(r"[^\s,:\[\]{}\"/]+")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_WORDS = {"true": True, "false": False, "null": None}
_OTHER_LANGUAGES = {
    "none": "null",
    "nil": "null",
    "undefined": "null",
    "yes": "true",
    "no": "false",
}
_SURROGATE = re.compile("[\ud800-\udfff]")
_STRINGS = json.JSONDecoder()


class JsonError(Exception):
    """Text that is not JSON, at an offset into it."""

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


@dataclass(frozen=True)
class JsonSource:
    """Parsed text: its data, the offset of each value and each key, and keys given twice."""

    text: str
    data: Any
    values: dict[JsonPath, int]
    keys: dict[JsonPath, int]
    duplicates: tuple[DataDiagnostic, ...]

    def position(self, path: JsonPath, *, at_key: bool = False) -> tuple[int, int]:
        """Line and column of the value at `path` or of its key, or else of its parent."""
        if at_key and path in self.keys:
            return self._line_column(self.keys[path])
        while path not in self.values:
            path = path[:-1]
        return self._line_column(self.values[path])

    def _line_column(self, offset: int) -> tuple[int, int]:
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(newline.end() for newline in re.finditer("\n", self.text))]


def parse_json(text: str) -> JsonSource:
    """Raises JsonError at the first place where `text` is not JSON."""
    return _Parser(text).parse()


def line_column(text: str, offset: int) -> tuple[int, int]:
    """The line and the column of an offset, both from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.values: dict[JsonPath, int] = {}
        self.keys: dict[JsonPath, int] = {}
        self.duplicates: list[DataDiagnostic] = []

    def parse(self) -> JsonSource:
        self.skip()
        if self.at == len(self.text):
            raise self.error("the file is empty")
        data = self.read(())
        self.skip()
        if self.at < len(self.text):
            raise self.error(f"the workflow ends before {self.found()}; remove what follows")
        return JsonSource(self.text, data, self.values, self.keys, tuple(self.duplicates))

    # -------------------------------------------------------------- values

    def read(self, path: JsonPath) -> Any:
        self.values[path] = self.at
        match self.peek():
            case "{":
                return self.read_object(path)
            case "[":
                return self.read_list(path)
            case '"':
                return self.read_string()
            case _:
                return self.read_word()

    def read_object(self, path: JsonPath) -> dict[str, Any]:
        members: dict[str, Any] = {}
        opening = self.open(path)
        while not self.closes("}", opening):
            start = self.at
            key = self.read_key(opening)
            here = (*path, key)
            if key in members:
                self.duplicates.append(DataDiagnostic(here, f"{key!r} is given twice", at_key=True))
            self.keys[here] = start
            self.skip()
            if self.peek() != ":":
                raise self.error(f"expected ':' after the key {key!r}, found {self.found()}")
            self.at += 1
            self.skip()
            members[key] = self.read(here)
            self.separate("}", opening, after=f"the value of {key!r}")
        return members

    def read_list(self, path: JsonPath) -> list[Any]:
        items: list[Any] = []
        opening = self.open(path)
        while not self.closes("]", opening):
            items.append(self.read((*path, len(items))))
            self.separate("]", opening, after="an item")
        return items

    def read_key(self, opening: int) -> str:
        if self.text[self.at] == '"':
            return self.read_string()
        if self.text[self.at] == "'":
            raise self.error("a key is written in double quotes")
        if word := _WORD.match(self.text, self.at):
            raise self.error(f'a key is written in double quotes: "{word[0]}"')
        raise self.error(f"expected a key or {self.closing('}', opening)}, found {self.found()}")

    def read_string(self) -> str:
        start = self.at
        try:
            value, self.at = _STRINGS.raw_decode(self.text, start)
        except json.JSONDecodeError as error:
            raise self.broken_string(error) from None
        if _SURROGATE.search(value):
            raise JsonError(
                start, "a string holds half of a surrogate pair, which is not a character"
            )
        return str(value)

    def broken_string(self, error: json.JSONDecodeError) -> JsonError:
        at, wrong = error.pos, self.text[error.pos : error.pos + 2]
        if error.msg.startswith("Unterminated") or wrong.startswith(("\r", "\n")):
            message = "this string is not closed on its line; a line break is written \\n"
            return JsonError(self.at, message)
        if error.msg.startswith("Invalid control"):
            escape = json.dumps(wrong[0])[1:-1]
            return JsonError(at, f"a control character is written with an escape: {escape}")
        if error.msg.startswith("Invalid \\u"):
            at = self.text.rfind("\\", 0, at + 1)  # some versions of Python name the letter
            return JsonError(at, "\\u is followed by four hexadecimal digits; a backslash is \\\\")
        return JsonError(at, f"{wrong} is not an escape; a backslash in a string is written \\\\")

    def read_word(self) -> Any:
        found = _WORD.match(self.text, self.at)
        if not found:
            raise self.error(f"expected a value, found {self.found()}")
        word = found[0]
        if word in _WORDS:
            value: Any = _WORDS[word]
        elif number := _NUMBER.fullmatch(word):
            value = self.read_number(number)
        else:
            raise self.error(_word_error(word))
        self.at = found.end()
        return value

    def read_number(self, number: re.Match[str]) -> int | float:
        is_integer = number[1] is None and number[2] is None
        try:
            value = int(number[0]) if is_integer else float(number[0])
        except ValueError:  # Python refuses to read integers of more than 4,300 digits
            raise self.error("this number is too large") from None
        if not is_integer and math.isinf(value):
            raise self.error("this number is too large")
        return value

    # -------------------------------------------------------------- between values

    def skip(self) -> None:
        space = _SPACE.match(self.text, self.at)
        assert space is not None  # it also matches nothing
        self.at = space.end()
        if self.text.startswith("/*", self.at):
            raise self.error("this comment is not closed: '*/' is missing")

    def peek(self) -> str:
        """The next character, or nothing at the end."""
        return self.text[self.at : self.at + 1]

    def open(self, path: JsonPath) -> int:
        opening = self.at
        if len(path) >= DEPTH_LIMIT:
            raise self.error(f"objects and lists are nested more than {DEPTH_LIMIT} deep")
        self.at += 1
        self.skip()
        return opening

    def closes(self, bracket: str, opening: int) -> bool:
        """Whether the object or list ends here; if so, skip its bracket."""
        if self.at == len(self.text):
            raise self.error(
                f"the file ends too early: {self.closing(bracket, opening)} is missing"
            )
        if self.text[self.at] != bracket:
            return False
        self.at += 1
        return True

    def separate(self, bracket: str, opening: int, *, after: str) -> None:
        """Skip the comma between two members; one before the closing bracket is accepted."""
        self.skip()
        if self.peek() == ",":
            self.at += 1
            self.skip()
        elif self.peek() not in ("", bracket):
            closing = self.closing(bracket, opening)
            raise self.error(f"expected ',' or {closing} after {after}, found {self.found()}")

    def closing(self, bracket: str, opening: int) -> str:
        line, _ = line_column(self.text, opening)
        return f"the {bracket!r} of the {self.text[opening]!r} on line {line}"

    def found(self) -> str:
        if self.at == len(self.text):
            return "the end of the file"
        word = _WORD.match(self.text, self.at)
        return repr(word[0][:30] if word else self.text[self.at])

    def error(self, message: str) -> JsonError:
        return JsonError(self.at, message)


def _word_error(word: str) -> str:
    """Why a bare word is not a JSON value."""
    if word.startswith("'"):
        return "a string is written in double quotes"
    if word.lower().lstrip("+-") in {"nan", "inf", "infinity"}:
        return f"{word} is not a number in JSON"
    if word[0] in "+-.0123456789":
        return f"{word!r} is not a number"
    meant = _OTHER_LANGUAGES.get(word.lower())
    hint = f" (did you mean {meant!r}?)" if meant else did_you_mean(word.lower(), _WORDS)
    return f"{word!r} is not a value; a string is written in double quotes{hint}"
