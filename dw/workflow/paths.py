"""Paths: the media, local models and graphs that a workflow names must exist, where it may read."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.errors import RunFailed
from dw.types import Permissions
from dw.workflow.builtin import is_builtin, unknown_model
from dw.workflow.diagnostics import DataDiagnostic, Diagnostic, Diagnostics, Severity
from dw.workflow.graph_file import check_graph_file, graph_files
from dw.workflow.hub_address import hub_file
from dw.workflow.json_path import JsonPath, is_path, walk
from dw.workflow.media import is_url, media_places
from dw.workflow.references import is_reference

if TYPE_CHECKING:
    from dw.workflow.document import Document

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf")
"""Ends of the names of files with weights."""

_MODELS = ("model_name", "sam_model_name", "from_single_file")


def check_files(
    document: Document,
    arguments: Mapping[str, Any] | None = None,
    *,
    rehearse: bool = False,
    are_typed: bool = True,
) -> tuple[Diagnostic, ...]:
    """What is wrong with the media, local models and graphs that the document names, with these
    arguments: they do not exist, or a graph is none.

    Names in the file must be in a folder that it may read (`may_read`); names in `arguments`, which
    the user typed, may be anywhere. None: the arguments are not known yet, and a wrong default is a
    warning, as an argument may replace it. `rehearse`: models need not exist, except those that
    come with dw, which have no stand-ins. Unless they `are_typed`, a caller gave the arguments, and
    their names are judged as those in the file.
    """
    given = arguments or {}
    data = document.filled(given)
    named = [(path, place, _media_error) for path, place in media_places(data)]
    foreign = {path: wrong for path, name in models_in(data) if (wrong := _foreign(path, name))}
    named += [
        (path, name, _model_error)
        for path, name in models_in(data)
        if path in foreign or is_builtin(name) or not rehearse
    ]
    graphs = {path: (name, action) for path, name, action in graph_files(data)}
    named += [(path, name, _media_error) for path, (name, _) in graphs.items()]
    found = []
    for path, name, error_of in named:
        variable = document.variable_at(path)
        problems: Iterable[DataDiagnostic] = ()
        bounded = not (are_typed and variable in given)
        if message := foreign.get(path) or error_of(document, name, bounded=bounded):
            problems = (DataDiagnostic(path, message),)
        elif path in graphs:
            file = resolve(name, document.path.parent)
            problems = check_graph_file(path, file, *graphs[path])
        is_default = variable is not None and arguments is None
        severity: Severity = "warning" if is_default else "error"
        found += [document.locate(replace(each, severity=severity)) for each in problems]
    found += [document.locate(each) for each in _check_hub_options(document, data)]
    return tuple(found)


def _check_hub_options(document: Document, data: Any) -> Diagnostics:
    """Options of a hub's model beside one that is on this machine."""
    for path, name in models_in(data):
        arguments = data
        for part in path[:-1]:
            arguments = arguments[part]
        is_here = is_builtin(name) or os.path.exists(resolve(name, document.path.parent))
        if path[-2] != "from_pretrained_arguments" or not is_here:
            continue
        for option, way in _OF_THE_HUB.items():
            if arguments.get(option):
                message = (
                    f"{option!r} would have no effect here: {name!r} is on this machine; {way}"
                )
                where = (*path[:-1], option)
                severity: Severity = "error" if option == "revision" else "warning"
                yield DataDiagnostic(where, message, severity, at_key=True)


_OF_THE_HUB = {
    "revision": "name the hub id, OWNER/NAME, or the folder of that revision",
    "cache_dir": "leave it out",
    "token": "leave it out",
}


def models_in(data: Any) -> Iterator[tuple[JsonPath, str]]:
    """The path and value of each model's name: the folder, file or hub id of a pipeline, component,
    adapter or model of a task."""
    for path, value in walk(data.get("steps"), ("steps",)):
        is_model = path[-1] in _MODELS and path[2:3] in (("pipeline",), ("task",))
        if is_model and isinstance(value, str) and not is_reference(value):
            yield path, value


def _media_error(document: Document, name: str, *, bounded: bool) -> str | None:
    if is_reference(name) or is_url(name):
        return None
    folder = document.path.parent
    path = resolve(name, folder)
    if not os.path.isfile(path):
        return f"file {name!r} does not exist{_looked_for(name, folder)}"
    return outside(name) if bounded and not may_read(path, document.permissions, folder) else None


def _model_error(document: Document, name: str, *, bounded: bool) -> str | None:
    if is_builtin(name):
        return unknown_model(name)
    folder = document.path.parent
    path = resolve(name, folder)
    if not os.path.exists(path):
        missing = is_local(name)  # else it is a hub id
        where = _looked_for(name, folder)
        return f"model file or folder {name!r} does not exist{where}" if missing else None
    return outside(name) if bounded and not may_read(path, document.permissions, folder) else None


def _foreign(path: JsonPath, name: str) -> str | None:
    """The error for an address or a file that the place of a model's name does not take."""
    is_whole = path[-1] == "model_name" and path[-2] == "from_pretrained_arguments"
    if not is_url(name):
        is_file = is_whole and name.endswith(WEIGHTS)
        return f"{name!r} is one file: write {_single_file(name)} in its place" if is_file else None
    try:
        found = hub_file(name)
    except RunFailed as error:
        return "; ".join([error.message, *map(str, error.hints)])
    if not is_whole:
        return None
    if found.path is not None and found.path.endswith(WEIGHTS):
        return f"the address is that of one file: write {_single_file(name)} in its place"
    options = {"model_name": found.repository}
    if found.revision not in (None, "main"):
        options["revision"] = found.revision
    if found.path is not None:
        options["subfolder"] = found.path
    return f"a model is named by its hub id: write {json.dumps(options)[1:-1]}"


def _single_file(name: str) -> str:
    return f'"from_single_file": {json.dumps(name)}'


def _looked_for(name: str, folder: Path) -> str:
    """Where a relative name was looked for, as the end of a sentence."""
    if Path(os.path.expanduser(name)).is_absolute():
        return ""
    places = dict.fromkeys(str(each.absolute()) for each in (folder, Path.cwd()))
    return f" in {' or in '.join(places)}"


def is_local(name: str) -> bool:
    """Whether a model's name can only be a path of this machine: the hub's ids are OWNER/NAME, and
    its files OWNER/NAME/FILE."""
    return is_path(name) or "\\" in name or (name.endswith(WEIGHTS) and name.count("/") < 2)


def may_read(path: Path, permissions: Permissions, *folders: Path) -> bool:
    """Whether a workflow with these permissions may read a path: it lies, links followed, in one of
    the folders, in an allowed one or in the current one, or the workflow is trusted."""
    if permissions.trust:
        return True
    resolved = path.resolve()
    inside = (*folders, *permissions.allowed_dirs, Path.cwd())
    return any(resolved.is_relative_to(folder.resolve()) for folder in inside)


def resolve(name: str, folder: Path) -> Path:
    """The file that `name` means in a workflow in `folder`: beside it, or in the current one."""
    path = Path(os.path.expanduser(name))
    beside = folder / path
    return beside if os.path.exists(beside) or not os.path.exists(path) else path


def outside(name: str) -> str:
    return (
        f"{name!r} is outside of the workflow's folder and the current one; "
        "the setting 'allowed_dirs' allows a folder, 'trust' allows all"
    )
