"""File access: the files and addresses that a workflow may read. All media and models are read
through it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dw.engine.files.download import fetch
from dw.errors import RunFailed
from dw.types import DEFAULT_PERMISSIONS, Permissions
from dw.workflow.json_path import walk
from dw.workflow.media import is_url
from dw.workflow.paths import may_read, outside, resolve


@dataclass(frozen=True, slots=True)
class FileAccess:
    """A workflow may read files below its own folder, the folder of the run's workflow, the current
    folder and the allowed folders. A file that the user named may lie anywhere, and so may all
    files of a trusted workflow.
    """

    folder: Path  # where relative names start
    root: Path | None = None  # the folder of the run's workflow, where that is another one
    permissions: Permissions = DEFAULT_PERMISSIONS
    typed: frozenset[str] = frozenset()  # the texts in the run's arguments
    check: Callable[[], None] = lambda: None  # raises when the run was cancelled

    def source(self, place: str) -> str | io.BytesIO:
        """What to open for a path or URL: the path, or the bytes that were fetched.

        Raises RunFailed when the workflow may not read it or it cannot be fetched.
        """
        if is_url(place):
            is_named = place in self.typed
            private = self.permissions.trust
            return io.BytesIO(fetch(place, private=private, is_named=is_named, check=self.check))
        path = self.path(place)
        if path.exists() and not path.is_file():  # a pipe may have no writer, a device no end
            raise RunFailed(f"{place!r} is not a file")
        return str(path)

    def path(self, name: str) -> Path:
        """The file or folder that `name` means, which need not exist. Raises RunFailed when the
        workflow may not read it.
        """
        path = resolve(name, self.folder)
        self.require(path, name)
        return path

    def require(self, path: Path, name: str) -> None:
        """Raises RunFailed when the workflow may not read `path`, which it calls `name`."""
        if not self.may_read(path, name):
            raise RunFailed(outside(name))

    def may_read(self, path: Path, name: str) -> bool:
        """Whether the workflow may read `path`, which it calls `name`."""
        folders = (self.folder,) if self.root is None else (self.folder, self.root)
        return name in self.typed or may_read(path, self.permissions, *folders)

    def extended(self, pattern: str | None, places: Iterable[str]) -> FileAccess:
        """The same access, with the files that match a pattern where the user named the pattern."""
        return replace(self, typed=self.typed.union(places)) if pattern in self.typed else self


def typed_texts(arguments: Mapping[str, Any]) -> frozenset[str]:
    """Every text in the arguments of a run: each may name a file that the user wants to be read."""
    return frozenset(value for _, value in walk(dict(arguments)) if isinstance(value, str))
