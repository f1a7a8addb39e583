"""Loading: from text or a file to a validated document, with its sub-workflows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw import text_files
from dw.errors import WorkflowError
from dw.text_files import NotUtf8
from dw.types import DEFAULT_PERMISSIONS, Permissions
from dw.workflow.builtin import FOLDER, PREFIX, builtin_path, require_builtin
from dw.workflow.checks.all import sub_workflows, validate
from dw.workflow.checks.constants import literals
from dw.workflow.checks.shape import check_shape
from dw.workflow.diagnostics import (
    DataDiagnostic,
    Diagnostic,
    Diagnostics,
    merge_stages,
    raise_on_errors,
)
from dw.workflow.document import Document
from dw.workflow.format.comfyui import NO_WORKFLOW, is_graph
from dw.workflow.json_path import JsonPath
from dw.workflow.jsonc import JsonError, JsonSource, line_column, parse_json
from dw.workflow.paths import check_files, may_read, outside
from dw.workflow.references import check_variables, variable_at, variable_uses
from dw.workflow.substitution import extent_error, filled, substitute
from dw.workflow.variables import check_names

DEEPEST_CHAIN = 16  # sub-workflows of sub-workflows; real ones go 2 deep
MOST_SUB_WORKFLOWS = 256  # of one workflow, with theirs; one may be there under several names
_NO_TEXTS: Mapping[str, str] = MappingProxyType({})
_BYTE_ORDER_MARK = "\ufeff"


def parse_document(
    text: str,
    path: Path,
    *,
    permissions: Permissions = DEFAULT_PERMISSIONS,
    texts: Mapping[str, str] = _NO_TEXTS,
) -> Document:
    """The document in `text`. `path` names it, and relative paths resolve against it.

    Sub-workflows are read from disk, except those in `texts`, which has their texts by absolute
    path. Raises WorkflowError with every problem in the text and in the sub-workflows.
    """
    return validate_text(text, path, permissions=permissions, texts=texts).document_or_raise()


def load_document(
    path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS, rehearse: bool = False
) -> Document:
    """The document in the file at `path`. Its media and local models must exist.

    A missing file in the default of a variable is only a warning: an argument may name another.
    `rehearse`: the models need not exist. Raises WorkflowError.
    """
    return validate_file(path, permissions=permissions, rehearse=rehearse).document_or_raise()


def validate_file(
    path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS, rehearse: bool = False
) -> ValidationResult:
    """Like `load_document`, for a file with errors. Raises WorkflowError when it cannot be
    read."""
    loader = _Loader(permissions=permissions, with_files=True, rehearse=rehearse)
    return loader.validate(read_text(path), path)


def validate_text(
    text: str,
    path: Path,
    *,
    permissions: Permissions = DEFAULT_PERMISSIONS,
    texts: Mapping[str, str] = _NO_TEXTS,
) -> ValidationResult:
    """Like `parse_document`, for a text with errors."""
    return _Loader(permissions=permissions, with_files=False, texts=texts).validate(text, path)


@dataclass(frozen=True)
class ValidationResult:
    """The document, and the diagnostics of it and of its sub-workflows, sorted by position."""

    path: Path
    document: Document | None  # None when the text is not a JSON object
    problems: tuple[Diagnostic, ...]

    def with_more(self, problems: Iterable[Diagnostic]) -> ValidationResult:
        """With the diagnostics of a later stage."""
        return replace(self, problems=merge_stages(self.problems, problems))

    def document_or_raise(self) -> Document:
        """The document. Raises WorkflowError when there are errors."""
        raise_on_errors(self.path, self.problems)
        assert self.document is not None  # else there are errors
        return self.document


@dataclass(frozen=True)
class _Loader:
    permissions: Permissions
    with_files: bool  # whether files that are named must exist
    rehearse: bool = False
    texts: Mapping[str, str] = field(default_factory=dict)  # of sub-workflows, by absolute path
    chain: tuple[Path, ...] = ()  # the files that led to this one, outermost first
    read: list[Path] = field(default_factory=list)  # the sub-workflows so far, of all levels

    def validate(self, text: str, path: Path) -> ValidationResult:
        try:
            source = parse_json(text.removeprefix(_BYTE_ORDER_MARK))
        except JsonError as error:
            line, column = line_column(text, error.offset)
            unreadable = Diagnostic(str(path), line, column, error.message)
            return ValidationResult(path, None, (unreadable,))
        uses = variable_uses(source.data)
        constants = literals(source.data, trust=self.permissions.trust)
        children, inner = self._children(source, path)
        diagnostics = _check(source.data, uses, constants, children, trust=self.permissions.trust)
        problems = [each.locate(source, path) for each in (*source.duplicates, *diagnostics)]
        if not isinstance(source.data, dict):
            return ValidationResult(path, None, merge_stages(problems))
        document = Document(
            path=path,
            source=source,
            warnings=(),
            children=children,
            uses=uses,
            permissions=self.permissions,
            constants=constants,
        )
        files = check_files(document, rehearse=self.rehearse) if self.with_files else ()
        found = merge_stages([*problems, *inner], files)
        warnings = tuple(each for each in found if each.severity != "error")
        return ValidationResult(path, replace(document, warnings=warnings), found)

    def _children(
        self, source: JsonSource, path: Path
    ) -> tuple[dict[str, Document], list[Diagnostic]]:
        """The sub-workflows by their path as written, and the diagnostics of them and in them."""
        children: dict[str, Document] = {}
        problems: list[Diagnostic] = []
        for where, action in sub_workflows(source.data):
            name = action.get("path")
            if not isinstance(name, str) or not name or name.startswith("variable:"):
                continue  # wrong, which other checks report
            if name in children:
                continue
            try:
                child = self._child(name, path)
            except WorkflowError as error:
                problems.append(DataDiagnostic((*where, "path"), str(error)).locate(source, path))
            else:
                problems += child.problems
                if child.document is not None:
                    children[name] = child.document
        return children, problems

    def _child(self, name: str, parent: Path) -> ValidationResult:
        file = _child_file(name, parent.parent, self.texts)
        chain = (*self.chain, parent)
        text = self.texts.get(os.path.abspath(file))
        if text is None and not os.path.isfile(file):
            raise WorkflowError(f"workflow file {name!r} does not exist")
        if not may_read(file, self.permissions, parent.parent, FOLDER):
            raise WorkflowError(outside(name))
        if any(_is_same(file, above) for above in chain):
            names = " -> ".join(each.name for each in (*chain, file))
            raise WorkflowError(f"a workflow cannot run itself: {names}")
        if len(chain) > DEEPEST_CHAIN:
            raise WorkflowError(f"sub-workflows are nested more than {DEEPEST_CHAIN} deep")
        if len(self.read) >= MOST_SUB_WORKFLOWS:
            raise WorkflowError(f"there are more than {MOST_SUB_WORKFLOWS} sub-workflows")
        self.read.append(file)
        return replace(self, chain=chain).validate(read_text(file) if text is None else text, file)


def _is_same(file: Path, above: Path) -> bool:
    if file.exists() and above.exists():
        return os.path.samefile(file, above)
    return os.path.abspath(file) == os.path.abspath(above)


def _child_file(name: str, folder: Path, texts: Mapping[str, str]) -> Path:
    """The file of a sub-workflow's path: beside its parent, with or without `.json`, else one that
    comes with dw. Raises WorkflowError for an unknown built-in."""
    if name.startswith(PREFIX):
        return require_builtin(name)
    beside = (folder / name, folder / f"{name}.json")
    known = (each for each in beside if os.path.abspath(each) in texts or os.path.isfile(each))
    found = next(known, None)
    return found or builtin_path(name) or folder / name


def read_text(path: Path) -> str:
    """The text of a workflow file. Raises WorkflowError when it cannot be read."""
    try:
        return text_files.read_text(path)
    except OSError as error:
        reason = error.strerror or str(error)
        reason = reason[0].lower() + reason[1:]
        raise WorkflowError(f"cannot read {str(path)!r}: {reason}") from None
    except NotUtf8 as error:
        raise WorkflowError(str(error), where=error.where(path)) from None


def _check(
    data: Any,
    uses: Mapping[JsonPath, str],
    constants: Mapping[str, Any],
    children: Mapping[str, Document],
    *,
    trust: bool,
) -> Diagnostics:
    """What is wrong with any arguments. A variable without a default is not checked: an argument
    must fill it."""
    if not isinstance(data, dict):
        yield from check_shape(data)[1]
        return
    if is_graph(data):
        yield DataDiagnostic((), NO_WORKFLOW)
        return
    declared = data.get("variables")
    defaults = substitute(declared, {}, constants) if isinstance(declared, dict) else {}
    yield from check_names(declared)
    yield from check_variables(data, uses)
    if message := extent_error(defaults, uses):
        yield DataDiagnostic(("variables",), message)
        return
    data = filled(data, defaults, constants=constants, uses=uses)
    _, diagnostics = validate(data, children, trust=trust, variables=defaults)
    for diagnostic in diagnostics:
        name = variable_at(diagnostic.path, uses)
        if name is None:
            yield diagnostic
        elif defaults.get(name) is not None:
            yield diagnostic.of_argument(name)
