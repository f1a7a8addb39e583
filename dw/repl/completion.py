"""Completion: candidates for the word at the cursor, from the sources of a command's parameters.

A source yields the candidates for one kind of word; the parameters of commands name their source.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, get_args, get_type_hints

from dw.errors import DwError, UsageError
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.repl.commands.registry import (
    COMMANDS,
    GROUPED,
    Candidate,
    ShellCommand,
    Words,
    find_command,
)
from dw.repl.lexer import Word, lex_script, quote
from dw.settings import PREVIEW_WORDS, Settings
from dw.short_text import in_one_line
from dw.text_files import NotUtf8, read_text

if TYPE_CHECKING:
    from dw.repl.session import Session

MAX_FILES = 500
SUFFIX = ".json"
META_LENGTH = 60


def complete(session: Session, before: str) -> tuple[int, list[Candidate]]:
    """The offset at which the word at the cursor begins, and its candidates. `before` is the text
    before the cursor."""
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
        yield from commands(session, typed, ())
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
    elif not (rest and rest[-1].text in {option.flag for option in found.of_kind("option")}):
        yield from _of_command(session, found, rest, typed)


def _of_command(
    session: Session, found: ShellCommand, words: Sequence[Word], typed: str
) -> Iterable[Candidate]:
    before = [word.text for word in words if word.name is None and not word.text.startswith("-")]
    places = found.of_kind("word")
    following = [p for index, p in enumerate(places) if index == len(before) or p.many]
    for parameter in (*following, *found.of_kind("pairs")):  # pairs may stand anywhere
        if parameter.source is not None:
            yield from parameter.source(session, typed, before)
    for option in found.of_kind("flag", "option"):
        if typed.startswith("-") and option.flag not in {word.text for word in words}:
            yield Candidate(option.flag, option.doc)


# ------------------------------------------------------------------ sources


def commands(_session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    for found in COMMANDS.values():
        yield Candidate(found.name, found.doc)


def workflows(session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """Every workflow below `workflow_dir` and every built-in one, by the name that `load` takes,
    with its description.

    A path completes to any workflow file, and to workflows in subfolders of `workflow_dir`.
    """
    from dw.workflow.builtin import builtin_names
    from dw.workflow.find import find_workflow, workflow_names, workflows_below

    folder = Path(session.settings.workflow_dir).expanduser()
    if "/" in typed or typed.startswith((".", "~")):
        yield from (each for each in _files(typed) if each.text.endswith(("/", SUFFIX)))
        for path in workflows_below(folder):
            name = path.relative_to(folder).with_suffix("").as_posix()
            if name.startswith(typed):
                yield Candidate(quote(name), _description(path))
        return
    for name in dict.fromkeys((*workflow_names(folder)[:MAX_FILES], *builtin_names())):
        with suppress(DwError, OSError):
            yield Candidate(quote(name), _description(find_workflow(name, folder)))


def _description(path: Path) -> str:
    """The workflow's own description; empty for a broken file, which `load` reports."""
    from dw.workflow.jsonc import JsonError, parse_json

    try:
        data = parse_json(read_text(path)).data
    except (JsonError, OSError, NotUtf8):
        return ""
    return str(data.get("description") or "")[:META_LENGTH] if isinstance(data, dict) else ""


def arguments(session: Session, typed: str, _words: Words) -> Iterable[Candidate]:
    """`name=`, and after the `=` the values of that argument."""
    return _arguments(session.open_workflow, typed)


def arguments_of_named(session: Session, typed: str, words: Words) -> Iterable[Candidate]:
    """The arguments of the workflow that the first word names."""
    if not words:
        return ()
    try:
        return _arguments(OpenWorkflow(session.files.read(session.files.find(words[0]))), typed)
    except (DwError, OSError):
        return ()


def _arguments(workflow: OpenWorkflow | None, typed: str) -> Iterable[Candidate]:
    if workflow is None:
        return []
    name, equals, value = typed.partition("=")
    if not equals:
        return [
            Candidate(f"{row.name}=", f"{row.type}, now {in_one_line(row.value)}")
            for row in workflow.arguments()
        ]
    if value.startswith("@"):
        return [Candidate(f"{name}=@{c.text}", c.meta) for c in _files(value[1:])]
    return [Candidate(f"{name}={text}") for text in _argument_values(workflow, name)]


def _argument_values(workflow: OpenWorkflow, name: str) -> Iterator[str]:
    rows = {row.name: row for row in workflow.arguments()}
    if name == "seed" and not workflow.declares("seed"):
        yield from ("random", "last")
    elif name in rows and rows[name].type == "boolean":
        yield from ("true", "false")
    elif name in rows and rows[name].default is not None:
        value = rows[name].value
        yield quote(value) if isinstance(value, str) else str(value)


def runs(session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """The numbers of past runs, the newest first, each with its name and state."""
    from dw.run_index import RunIndex

    with RunIndex(session.output_dir) as index:
        found = index.search(most=MAX_FILES)[0]
    for run in reversed(found):
        name = run.number if run.number.startswith(typed) else run.name
        yield Candidate(name, f"{run.name}, {run.state}")


def unset_names(session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    """What `arg` takes besides pairs: `reset`, and `-name` for each argument that was set."""
    yield Candidate("reset", "everything back to its default")
    if session.open_workflow is not None:
        for name in session.open_workflow.changed():
            yield Candidate(f"-{name}", "back to its default")


def settings(session: Session, typed: str, _words: Words) -> Iterable[Candidate]:
    """`name=`, and after the `=` the values that the setting accepts."""
    name, equals, _ = typed.partition("=")
    if not equals:
        now = {name: in_one_line(getattr(session.settings, name)) for name in Settings.names()}
        return [Candidate(f"{name}=", f"now {value}") for name, value in now.items()]
    kind = get_type_hints(Settings).get(name)
    if name == "device":
        values: tuple[str, ...] = ("auto", "cuda", "mps", "cpu")
    elif name == "previews":
        values = PREVIEW_WORDS
    else:
        values = ("on", "off") if kind is bool else get_args(kind)
    return [Candidate(f"{name}={text}") for text in values]


def files(_session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """Files and folders whose path begins with `typed`; a folder ends in a slash."""
    return _files(typed)


def _files(typed: str) -> Iterator[Candidate]:
    folder, _, prefix = typed.rpartition("/")
    root = Path(folder or ("/" if typed.startswith("/") else ".")).expanduser()
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError:
        return
    lead = f"{folder}/" if "/" in typed else ""
    for entry in entries[:MAX_FILES]:
        if entry.name.startswith(prefix) and (prefix or not entry.name.startswith(".")):
            yield Candidate(lead + entry.name + ("/" if entry.is_dir() else ""))
