"""Assignments: `name=value`, `name=@file`, `name:=json` and `name:=@file` in a command line, and
`name=@@file`, whose lines are several values.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dw.errors import UsageError
from dw.jobs.lines import Lines
from dw.jobs.wildcards import content_lines
from dw.text_files import NotUtf8, decoded, read_text

Form = Literal["text", "json", "file", "json-file", "lines", "json-lines"]
"""The value is the text itself, JSON, or the text or JSON of the file that it names, or of each of
its lines."""

NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_-]*)(:?=)(@{0,2})")
STDIN = "-"
FORMS: dict[tuple[str, str], Form] = {
    ("=", ""): "text",
    ("=", "@"): "file",
    (":=", ""): "json",
    (":=", "@"): "json-file",
    ("=", "@@"): "lines",
    (":=", "@@"): "json-lines",
}


@dataclass(frozen=True, slots=True)
class Assignment:
    name: str
    text: str
    form: Form = "text"

    @classmethod
    def parse(cls, word: str) -> Assignment | None:
        """The assignment in a word, or None when it does not begin with a name and `=`."""
        head = match_head(word)
        return head and cls(head[0], word[head[2] :], head[1])

    def value(self) -> Any:
        """The value. Raises UsageError for an unreadable file or invalid JSON."""
        is_json = self.form.startswith("json")
        text = self.text if self.form in ("text", "json") else _read(self.text, self.name)
        if not self.form.endswith("lines"):
            return decode_json(text) if is_json else text
        lines = content_lines(text)
        if not lines:
            raise UsageError(f"{self.text} has no lines for {self.name}")
        return Lines(map(decode_json, lines) if is_json else lines)


def match_head(text: str, offset: int = 0) -> tuple[str, Form, int] | None:
    """The name and form of the assignment at `offset`, and the offset of its value."""
    match = NAME.match(text, offset)
    return match and (match[1], FORMS[match[2], match[3]], match.end())


def decode_json(text: str) -> Any:
    """The value of a JSON text. Raises UsageError with the column, and for one nested too deep."""
    from dw.workflow.jsonc import DEPTH_LIMIT  # few command lines need it

    too_deep = UsageError(f"objects and lists are nested more than {DEPTH_LIMIT} deep")
    try:
        value = json.loads(text)
    except RecursionError:
        raise too_deep from None
    except json.JSONDecodeError as error:
        raise UsageError(
            f"not valid JSON at character {error.pos + 1}: {error.msg.lower()}"
        ) from None
    if _depth(value) > DEPTH_LIMIT:
        raise too_deep
    return value


def _depth(value: Any) -> int:
    """How deep objects and lists are nested; 0 for a plain value."""
    depth, level = 0, [value]
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [m for each in level for m in (each.values() if isinstance(each, dict) else each)]
    return depth


def _read(path: str, name: str) -> str:
    """The text of a file or, for `-`, of standard input, without the newline that an editor puts at
    its end."""
    try:
        text = _standard_input() if path == STDIN else read_text(Path(path).expanduser())
    except NotUtf8 as error:
        raise UsageError(
            str(error),
            where=error.where(path),
            hints=[f"{name}={path}   passes the path"],
        ) from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    return text.removesuffix("\n").removesuffix("\r")


def _standard_input() -> str:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(
            "cannot read -: standard input is "
            + ("closed" if sys.stdin is None else "the terminal")
        )
    return decoded(sys.stdin.buffer.read()).replace("\r\n", "\n")
