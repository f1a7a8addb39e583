"""The catalog: the workflows that a service offers, by name."""

from __future__ import annotations

from pathlib import Path

from dw.errors import UsageError, did_you_mean
from dw.types import Permissions
from dw.workflow import Document, load_document
from dw.workflow.builtin import builtin_names, builtin_path
from dw.workflow.find import workflows_below

Stamp = tuple[int, int, int, int]


class Catalog:
    """The valid workflows below a folder, and those that come with dw. A file that changes is read
    again when it is next asked for."""

    def __init__(self, folder: Path, permissions: Permissions) -> None:
        self.folder = folder
        self.permissions = permissions
        self._documents: dict[Path, tuple[Stamp, Document]] = {}

    def names(self) -> list[str]:
        return sorted(self._paths())

    def document(self, name: str) -> Document:
        """Raises UsageError for an unknown name, and WorkflowError for a file that is wrong."""
        paths = self._paths()
        if (path := paths.get(name)) is None:
            raise UnknownWorkflow(
                f"unknown workflow {name!r}{did_you_mean(name, paths)}",
                hints=[f"served here: {', '.join(sorted(paths)) or 'none'}"],
            )
        stat = path.stat()
        stamp = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)
        if path not in self._documents or self._documents[path][0] != stamp:
            document = load_document(path, permissions=self.permissions)
            self._documents[path] = stamp, document
        return self._documents[path][1]

    def _paths(self) -> dict[str, Path]:
        """The file nearest to the top has a name that several have."""
        below = sorted(workflows_below(self.folder), key=lambda path: -len(path.parts))
        builtin = {name: builtin_path(name) for name in builtin_names()}
        return {n: p for n, p in builtin.items() if p} | {path.stem: path for path in below}


class UnknownWorkflow(UsageError):
    """There is no workflow of that name."""

    error_type = "workflow_not_found"
