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

    What the file itself names must lie in the file's folder or the current one, unless the
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
    folder = document.path.parent
    if not isinstance(value, str) or is_reference(value):
        return None
    if path[-1] in _MODELS and path[2:3] == ("pipeline",):
        return None if rehearse else _judge_model(value, folder)
    if is_media(path) and not is_url(value):
        return _judge_media(value, folder, bounded=bounded and not document.trust)
    return None


def _judge_media(name: str, folder: Path, *, bounded: bool) -> str | None:
    path = resolve(name, folder)
    if not os.path.isfile(path):
        return f"there is no file {name!r}"
    return outside(name) if bounded and not is_allowed(path, folder) else None


def _judge_model(name: str, folder: Path) -> str | None:
    if not is_path(name) or os.path.exists(resolve(name, folder)):
        return None
    return f"there is no model {name!r}: no such file or folder"


def resolve(name: str, folder: Path) -> Path:
    """The file that a workflow in `folder` means: beside it, or else below the current folder."""
    path = Path(os.path.expanduser(name))
    beside = folder / path
    return beside if os.path.exists(beside) or not os.path.exists(path) else path


def is_allowed(path: Path, folder: Path) -> bool:
    """Whether a workflow in `folder` may name this path, which exists, without the user's trust."""
    resolved = path.resolve()
    return any(resolved.is_relative_to(allowed.resolve()) for allowed in (folder, Path.cwd()))


def outside(name: str) -> str:
    return f"{name!r} is outside of the workflow's folder and the current one; --trust allows it"
