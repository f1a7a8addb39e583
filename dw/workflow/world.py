"""What a workflow names on disk: its media and its local models must be there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.workflow.media import is_media, is_url
from dw.workflow.problem import Finding, Problem, Severity
from dw.workflow.references import is_reference
from dw.workflow.tree import JsonPath, is_path, walk

if TYPE_CHECKING:
    from dw.workflow.document import Document

_MODELS = ("model_name", "from_single_file")


def check_world(
    document: Document, arguments: Mapping[str, Any] | None = None, *, rehearse: bool = False
) -> tuple[Problem, ...]:
    """Media and local models that the document names, with these arguments, and that are not there.

    What the file itself names must lie in a folder that it may read (`is_allowed`), unless the
    document is trusted; what the user names may lie anywhere. Without `arguments` they are not
    known yet, and what is wrong with a default is a warning: an argument may take its place.
    `rehearse`: models are not needed.
    """
    given = arguments or {}
    found = []
    for path, value in walk(document.filled(given).get("steps"), ("steps",)):
        name = document.variable_at(path)
        if message := _judge(document, path, value, bounded=name not in given, rehearse=rehearse):
            severity: Severity = "warning" if name is not None and arguments is None else "error"
            found.append(document.place(Finding(path, message, severity)))
    return tuple(found)


def _judge(
    document: Document, path: JsonPath, value: Any, *, bounded: bool, rehearse: bool
) -> str | None:
    if not isinstance(value, str) or is_reference(value):
        return None
    if path[-1] in _MODELS and path[2:3] == ("pipeline",):
        return None if rehearse else _judge_model(document, value, bounded=bounded)
    if is_media(path) and not is_url(value):
        return _judge_media(document, value, bounded=bounded)
    return None


def _judge_media(document: Document, name: str, *, bounded: bool) -> str | None:
    path = resolve(name, document.path.parent)
    if not os.path.isfile(path):
        return f"there is no file {name!r}"
    return outside(name) if bounded and not may_read(document, path) else None


def _judge_model(document: Document, name: str, *, bounded: bool) -> str | None:
    path = resolve(name, document.path.parent)
    if not os.path.exists(path):
        missing = is_path(name)  # else it is a hub id
        return f"there is no model {name!r}: no such file or folder" if missing else None
    return outside(name) if bounded and not may_read(document, path) else None


def may_read(document: Document, path: Path) -> bool:
    return document.trust or is_allowed(path, document.path.parent, *document.allowed)


def resolve(name: str, folder: Path) -> Path:
    """The file that a workflow in `folder` means: beside it, or else below the current folder."""
    path = Path(os.path.expanduser(name))
    beside = folder / path
    return beside if os.path.exists(beside) or not os.path.exists(path) else path


def is_allowed(path: Path, *folders: Path) -> bool:
    """Whether a path lies, links followed, in one of the folders or in the current one."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(folder.resolve()) for folder in (*folders, Path.cwd()))


def outside(name: str) -> str:
    return (
        f"{name!r} is outside of the workflow's folder and the current one; "
        "--trust allows it, and `config allowed_dirs=FOLDER` a folder"
    )
