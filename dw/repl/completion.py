"""Completion: what may stand at the cursor, from the registry and the sources of its parameters."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dw.errors import UsageError
from dw.repl import candidates
from dw.repl.commands.registry import (
    COMMANDS,
    GROUPED,
    Candidate,
    Parameter,
    ShellCommand,
    find_command,
)
from dw.repl.lexer import Word, lex_script

if TYPE_CHECKING:
    from dw.repl.session import Session


def complete(session: Session, before: str) -> tuple[int, list[Candidate]]:
    """Where the word at the cursor begins, and what it may become; `before` ends at the cursor."""
    statements, errors = lex_script(before)
    words = statements[-1].words if statements else ()
    if errors or (before and words and words[-1].is_quoted):
        return len(before), []
    is_new = not words or words[-1].end < len(before) or before.endswith("\n")
    start = len(before) if is_new else words[-1].start
    typed = before[start:]
    previous = [word for word in words if word.end <= start] if not before.endswith("\n") else []
    found = _candidates(session, previous, typed)
    return start, [each for each in found if each.text.lower().startswith(typed.lower())]


def _candidates(session: Session, previous: Sequence[Word], typed: str) -> Iterator[Candidate]:
    if not previous:
        yield from candidates.commands(session, typed, ())
        yield from (Candidate(name) for name in GROUPED if name not in COMMANDS)
        return
    first, *rest = previous
    group = GROUPED.get(first.text, {})
    if rest and rest[0].text in group:
        first, rest = Word((group[rest[0].text][0],), 0, 0), rest[1:]
    elif group and not rest:
        yield from (Candidate(name) for name in group)
    try:
        found = find_command(first.text)
    except UsageError:
        return
    if found.of_kind("rest"):
        yield from _candidates(session, rest, typed)
    elif not _awaits_value(found, rest):
        yield from _of_command(session, found, rest, typed)


def _awaits_value(found: ShellCommand, words: Sequence[Word]) -> bool:
    """Whether the last word was an option, such as `--timeout`, whose value comes next."""
    return bool(words) and words[-1].text in {option.flag for option in found.of_kind("option")}


def _of_command(
    session: Session, found: ShellCommand, words: Sequence[Word], typed: str
) -> Iterable[Candidate]:
    before = [word.text for word in _plain(words)]
    for parameter in _places(found, len(before)):
        if parameter.source is not None:
            yield from parameter.source(session, typed, before)
    for option in found.of_kind("flag", "option"):
        if typed.startswith("-") and option.flag not in {word.text for word in words}:
            yield Candidate(option.flag, option.doc)


def _plain(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if word.name is None and not word.text.startswith("-")]


def _places(found: ShellCommand, filled: int) -> list[Parameter]:
    """The word that comes next, and the pairs, which may stand anywhere."""
    places = found.of_kind("word")
    following = [p for index, p in enumerate(places) if index == filled or p.many]
    return [*following, *found.of_kind("pairs")]
