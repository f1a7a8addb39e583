"""What may be typed: the sources that completion asks, each for one kind of word."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

from dw.errors import DwError
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.repl.commands.registry import COMMANDS, Candidate, Words
from dw.repl.lexer import quote
from dw.run_record import past
from dw.settings import Settings
from dw.terminal.table import in_one_line

if TYPE_CHECKING:
    from dw.repl.session import Session

MAX_FILES = 500
SUFFIX = ".json"
META_LENGTH = 60


def commands(_session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    for found in COMMANDS.values():
        yield Candidate(found.name, found.doc)


def workflows(session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """Every workflow below `workflow_dir` and every built-in one, by the name that `load` takes,
    with its description.

    What is typed as a path may become any workflow's, or one in a folder of `workflow_dir`.
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
    """What the workflow says of itself; nothing when the file is broken, which `load` will say."""
    from dw.workflow.jsonc import JsonError, parse_json

    try:
        data = parse_json(path.read_text(encoding="utf-8")).data
    except (JsonError, OSError, UnicodeDecodeError):
        return ""
    return str(data.get("description") or "")[:META_LENGTH] if isinstance(data, dict) else ""


def arguments(session: Session, typed: str, _words: Words) -> Iterable[Candidate]:
    """`name=`, and after the `=` what that argument may be."""
    return _arguments(session.open_workflow, typed)


def arguments_of_named(session: Session, typed: str, words: Words) -> Iterable[Candidate]:
    """The arguments of the workflow that the first word names."""
    if not words:
        return ()
    try:
        return _arguments(OpenWorkflow(session.read(session.find(words[0]))), typed)
    except (DwError, OSError):
        return ()


def _arguments(opened: OpenWorkflow | None, typed: str) -> Iterable[Candidate]:
    if opened is None:
        return []
    name, equals, value = typed.partition("=")
    if not equals:
        return [
            Candidate(f"{row.name}=", f"{row.type}, now {in_one_line(row.value)}")
            for row in opened.arguments()
        ]
    if value.startswith("@"):
        return [Candidate(f"{name}=@{c.text}", c.meta) for c in _files(value[1:])]
    return [Candidate(f"{name}={text}") for text in _argument_values(opened, name)]


def _argument_values(opened: OpenWorkflow, name: str) -> Iterator[str]:
    rows = {row.name: row for row in opened.arguments()}
    if name == "seed" and not opened.declares("seed"):
        yield from ("random", "last")
    elif name in rows and rows[name].type == "boolean":
        yield from ("true", "false")
    elif name in rows and rows[name].default is not None:
        yield _as_word(rows[name].value)


def _as_word(value: Any) -> str:
    return quote(value) if isinstance(value, str) else str(value)


def runs(session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """The numbers of past runs, the newest first, each with what it was."""
    found = [run for run in past(session.output_dir) if str(run.number).startswith(typed)]
    for run in found[: -MAX_FILES - 1 : -1]:
        yield Candidate(str(run.number), f"{run.name}, {run.state}")


def unset_names(session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    """What `arg` takes besides pairs: `reset`, and `-name` for what was set."""
    yield Candidate("reset", "everything back to its default")
    if session.open_workflow is not None:
        for name in session.open_workflow.changed():
            yield Candidate(f"-{name}", "back to its default")


def settings(session: Session, typed: str, _words: Words) -> Iterable[Candidate]:
    """`name=`, and after the `=` the values that the setting takes."""
    name, equals, _ = typed.partition("=")
    if not equals:
        now = {name: in_one_line(getattr(session.settings, name)) for name in Settings.names()}
        return [Candidate(f"{name}=", f"now {value}") for name, value in now.items()]
    return [Candidate(f"{name}={text}") for text in _setting_values(name)]


def _setting_values(name: str) -> tuple[str, ...]:
    kind = get_type_hints(Settings).get(name)
    if name == "device":
        return ("auto", "cuda", "mps", "cpu")
    return ("on", "off") if kind is bool else get_args(kind)


def files(_session: Session, typed: str, _words: Words) -> Iterator[Candidate]:
    """Files and folders that begin as typed; a folder ends in a slash."""
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
