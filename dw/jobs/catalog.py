"""The catalog: the workflows that a service offers, by name."""

from __future__ import annotations

import time
from pathlib import Path

from dw.errors import UsageError, did_you_mean
from dw.types import Permissions
from dw.workflow import Document, load_document
from dw.workflow.builtin import builtin_names, builtin_path
from dw.workflow.find import workflows_below

Stamp = tuple[int, int, int, int]
LISTED_S = 1.0
"""A new file is served after so many seconds at the latest, where it takes the name of another."""


class Catalog:
    """The valid workflows below a folder, and those that come with dw. A file that changes is read
    again when it is next asked for."""

    def __init__(self, folder: Path, permissions: Permissions) -> None:
        self.folder = folder
        self.permissions = permissions
        self._documents: dict[Path, tuple[Stamp, Document]] = {}
        self._listed: dict[str, Path] = {}
        self._listed_at = -float("inf")

    def names(self) -> list[str]:
        return sorted(self._list())

    def document(self, name: str) -> Document:
        """Raises UsageError for an unknown name, and WorkflowError for a file that is wrong."""
        paths = self._listed
        is_old = time.monotonic() - self._listed_at > LISTED_S
        if is_old or name not in paths or not paths[name].is_file():
            paths = self._list()
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

    def _list(self) -> dict[str, Path]:
        """The file nearest to the top has a name that several have."""
        below = sorted(workflows_below(self.folder), key=lambda path: -len(path.parts))
        builtin = {name: builtin_path(name) for name in builtin_names()}
        self._listed = {n: p for n, p in builtin.items() if p} | {p.stem: p for p in below}
        self._listed_at = time.monotonic()
        return self._listed


class UnknownWorkflow(UsageError):
    """There is no workflow of that name."""

    error_type = "workflow_not_found"
