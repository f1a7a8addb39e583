"""From text or a file to a document, with its sub-workflows."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dw.errors import WorkflowError
from dw.types import DEFAULT_PERMISSIONS, Permissions
from dw.workflow.builtin import FOLDER, PREFIX, builtin_path, require_builtin
from dw.workflow.checks.all import examine, sub_workflows
from dw.workflow.checks.constants import literals
from dw.workflow.checks.shape import check_shape
from dw.workflow.document import Document, blame, place, refuse, together
from dw.workflow.json_path import JsonPath
from dw.workflow.jsonc import JsonError, JsonSource, line_column, parse_json
from dw.workflow.paths import check_files, may_read, outside
from dw.workflow.problems import Diagnostic, Finding
from dw.workflow.references import check_variables, variable_at, variable_uses
from dw.workflow.substitution import filled, substitute
from dw.workflow.variables import check_names

LARGEST_FILE = 50 * 2**20  # bytes
DEEPEST_CHAIN = 16  # sub-workflows of sub-workflows; real ones go 2 deep
_BYTE_ORDER_MARK = "\ufeff"


def parse_document(
    text: str, path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS
) -> Document:
    """The document that `text` is; `path` names it and is what relative paths resolve against.

    Only sub-workflows are read from disk. Raises WorkflowError with every problem in the text and
    in the sub-workflows.
    """
    return _Loader(permissions=permissions, world=False).judge(text, path).right


def load_document(
    path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS, rehearse: bool = False
) -> Document:
    """The document in the file at `path`, whose media and local models must be there, too.

    A missing file that a variable's default names is a warning, as an argument may name another.
    `rehearse`: the models need not be there. Raises WorkflowError.
    """
    return validate_file(path, permissions=permissions, rehearse=rehearse).right


def validate_file(
    path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS, rehearse: bool = False
) -> ValidationResult:
    """Like `load_document`, for a file that may be wrong. Raises WorkflowError when it cannot be
    read."""
    loader = _Loader(permissions=permissions, world=True, rehearse=rehearse)
    return loader.judge(read_text(path), path)


def validate_text(
    text: str, path: Path, *, permissions: Permissions = DEFAULT_PERMISSIONS
) -> ValidationResult:
    """Like `parse_document`, for a text that may be wrong."""
    return _Loader(permissions=permissions, world=False).judge(text, path)


@dataclass(frozen=True)
class ValidationResult:
    """A text and everything that was found in it and in its sub-workflows, in order of place."""

    path: Path
    document: Document | None  # None when it is no JSON object
    problems: tuple[Diagnostic, ...]

    def with_more(self, problems: Iterable[Diagnostic]) -> ValidationResult:
        """With the problems that a later stage has found."""
        return replace(self, problems=together(self.problems, problems))

    @property
    def right(self) -> Document:
        """The document. Raises WorkflowError when there are errors."""
        refuse(self.path, self.problems)
        assert self.document is not None  # else there are errors
        return self.document


@dataclass(frozen=True)
class _Loader:
    permissions: Permissions
    world: bool  # whether files that are named must exist
    rehearse: bool = False
    chain: tuple[Path, ...] = ()  # the files that led to this one, outermost first

    def judge(self, text: str, path: Path) -> ValidationResult:
        try:
            source = parse_json(text.removeprefix(_BYTE_ORDER_MARK))
        except JsonError as error:
            line, column = line_column(text, error.offset)
            return ValidationResult(
                path, None, (Diagnostic(str(path), line, column, error.message),)
            )
        uses = variable_uses(source.data)
        constants = literals(source.data, trust=self.permissions.trust)
        children, inner = self._children(source, path)
        findings = _findings(source.data, uses, constants, children, trust=self.permissions.trust)
        problems = [place(each, source, path) for each in (*source.duplicates, *findings)]
        if not isinstance(source.data, dict):
            return ValidationResult(path, None, together(problems))
        document = Document(
            path=path,
            source=source,
            warnings=(),
            children=children,
            uses=uses,
            permissions=self.permissions,
            constants=constants,
        )
        world = check_files(document, rehearse=self.rehearse) if self.world else ()
        found = together([*problems, *inner], world)
        warnings = tuple(each for each in found if each.severity != "error")
        return ValidationResult(path, replace(document, warnings=warnings), found)

    def _children(
        self, source: JsonSource, path: Path
    ) -> tuple[dict[str, Document], list[Diagnostic]]:
        """The sub-workflows by their path as written, and the problems in them or with them."""
        children: dict[str, Document] = {}
        problems: list[Diagnostic] = []
        for where, name in _child_paths(source.data):
            if name in children:
                continue
            try:
                child = self._child(name, path)
            except WorkflowError as error:
                problems.append(place(Finding(where, str(error)), source, path))
            else:
                problems += child.problems
                if child.document is not None:
                    children[name] = child.document
        return children, problems

    def _child(self, name: str, parent: Path) -> ValidationResult:
        file = _child_file(name, parent.parent)
        chain = (*self.chain, parent)
        if not os.path.isfile(file):
            raise WorkflowError(f"there is no workflow file {name!r}")
        if not may_read(file, self.permissions, parent.parent, FOLDER):
            raise WorkflowError(outside(name))
        if any(os.path.samefile(file, above) for above in chain if above.exists()):
            names = " -> ".join(each.name for each in (*chain, file))
            raise WorkflowError(f"a workflow cannot run itself: {names}")
        if len(chain) > DEEPEST_CHAIN:
            raise WorkflowError(f"sub-workflows are nested more than {DEEPEST_CHAIN} deep")
        return replace(self, chain=chain).judge(read_text(file), file)


def _child_file(name: str, folder: Path) -> Path:
    """The file that a sub-workflow's path means: beside its parent, with or without its ending;
    then one that comes with dw. Raises WorkflowError for a built-in that does not exist."""
    if name.startswith(PREFIX):
        return require_builtin(name)
    beside = (folder / name, folder / f"{name}.json")
    found = next((file for file in beside if os.path.isfile(file)), None)
    return found or builtin_path(name) or folder / name


def read_text(path: Path) -> str:
    """The text of a workflow file. Raises WorkflowError when it cannot be read."""
    try:
        if path.exists() and not path.is_file():
            raise WorkflowError(f"{str(path)!r} is not a file")
        if path.stat().st_size > LARGEST_FILE:
            raise WorkflowError(f"{str(path)!r} is larger than {LARGEST_FILE // 2**20} MB")
        content = path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise WorkflowError(f"cannot read {str(path)!r}: {reason}") from None
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise WorkflowError("the file is not UTF-8 text", where=f"{path}:{line}") from None


def _child_paths(data: Any) -> Iterator[tuple[JsonPath, str]]:
    for path, step in sub_workflows(data):
        name = step.get("path")
        if isinstance(name, str) and name and not name.startswith("variable:"):
            yield (*path, "path"), name


def _findings(
    data: Any,
    uses: Mapping[JsonPath, str],
    constants: Mapping[str, Any],
    children: Mapping[str, Document],
    *,
    trust: bool,
) -> Iterator[Finding]:
    """What is wrong whatever the arguments are; one may yet fill a variable without a default."""
    if not isinstance(data, dict):
        yield from check_shape(data)[1]
        return
    declared = data.get("variables")
    defaults = substitute(declared, {}, constants) if isinstance(declared, dict) else {}
    yield from check_names(declared)
    yield from check_variables(data, uses)
    data = filled(data, defaults, constants=constants, uses=uses)
    _, findings = examine(data, children, trust=trust)
    for finding in findings:
        name = variable_at(finding.path, uses)
        if name is None:
            yield finding
        elif defaults.get(name) is not None:
            yield blame(finding, name)
