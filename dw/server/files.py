"""Files that callers upload and that batches write, kept in a folder, each with a note of what it
is."""

from __future__ import annotations

import json
import mimetypes
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO

from dw.server.answers import FileAnswer
from dw.server.api_error import ApiError

Keep = Callable[[BinaryIO, str], str]
"""Keeps what is read, under a file's name. Returns the path."""

_ID = re.compile(r"file-[0-9a-f]{24}")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """`created_at` is a Unix time in seconds."""

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: str
    object: str = "file"
    status: str = "processed"

    def to_json(self, base_url: str) -> FileAnswer:
        """As the clients of OpenAI and of Replicate read it, each by its own names."""
        content_type = mimetypes.guess_type(self.filename)[0] or "application/octet-stream"
        return {
            "id": self.id,
            "bytes": self.bytes,
            "created_at": self.created_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "object": "file",
            "status": "processed",
            "name": self.filename,
            "size": self.bytes,
            "content_type": content_type,
            "etag": self.id,
            "checksums": {},
            "metadata": {},
            "urls": {"get": f"{base_url}v1/files/{self.id}/content"},
        }


class FileStore:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        self._folder = folder

    def add(self, content: BinaryIO, filename: str, purpose: str) -> StoredFile:
        """Keep what is read from `content`, without holding it in memory. Raises OSError."""
        file_id = f"file-{secrets.token_hex(12)}"
        path = self._folder / file_id
        with path.open("wb") as file:
            shutil.copyfileobj(content, file)
        name = Path(filename).name or file_id
        stored = StoredFile(file_id, path.stat().st_size, int(time.time()), name, purpose)
        # The note comes last: a file without one was not uploaded whole.
        (self._folder / f"{file_id}.json").write_text(json.dumps(asdict(stored)))
        return stored

    @contextmanager
    def of_call(self) -> Iterator[Keep]:
        """Gives a function that keeps a file of one call, by its content and its name, and returns
        its path. What it kept is deleted when the block raises: the call was refused."""
        kept: list[str] = []

        def keep(content: BinaryIO, filename: str) -> str:
            kept.append(self.add(content, filename, "user_data").id)
            return str(self.path(kept[-1]))

        try:
            yield keep
        except BaseException:
            for file_id in kept:
                self._remove(file_id)
            raise

    def get(self, file_id: str) -> StoredFile:
        """Raises ApiError."""
        note = self._folder / f"{file_id}.json"
        if not _ID.fullmatch(file_id) or not note.is_file():
            raise ApiError("not_found", f"there is no file {file_id!r}")
        return StoredFile(**json.loads(note.read_text()))

    def path(self, file_id: str) -> Path:
        """Raises ApiError."""
        return self._folder / self.get(file_id).id

    def all(self, purpose: str | None = None) -> list[StoredFile]:
        """The newest first."""
        notes = [path.stem for path in self._folder.glob("file-*.json")]
        found = sorted(map(self.get, notes), key=lambda file: (-file.created_at, file.id))
        return [file for file in found if purpose in (None, file.purpose)]

    def prune(self, before: float, is_used: Callable[[str], bool]) -> int:
        """Delete the files from before a Unix time that are not used, by their ids, and what is
        left of uploads that came to nothing. Returns how many."""
        old = [
            path
            for path in self._folder.glob("file-*")
            if path.suffix != ".json" and path.stat().st_mtime < before and not is_used(path.name)
        ]
        for path in old:
            self._remove(path.name)
        return len(old)

    def delete(self, file_id: str) -> None:
        """Raises ApiError."""
        self._remove(self.get(file_id).id)

    def _remove(self, file_id: str) -> None:
        (self._folder / f"{file_id}.json").unlink(missing_ok=True)
        (self._folder / file_id).unlink(missing_ok=True)
