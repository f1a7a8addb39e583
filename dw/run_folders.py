"""Run folders: `{output_dir}/{workflow}/{number}`. The number of a run is its own in the whole
output folder, and never another one's, even when its folder is deleted.

The folder `.dw` below the output folder holds the last number that was given, and the text of each
workflow that was run, once, by its hash.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from dw.atomic_files import replace_file

try:
    import fcntl
except ImportError:  # Windows: two programs that start a run at once find it by the folder
    fcntl = None  # type: ignore[assignment]

KEPT = ".dw"
_NUMBER = re.compile(r"\d{4,}", re.ASCII)


def folder_name(number: int) -> str:
    return f"{number:04d}"


def number_of(folder: Path) -> int | None:
    """The number that the name of a run's folder says."""
    return int(folder.name) if _NUMBER.fullmatch(folder.name) else None


def next_number(output_dir: Path) -> int:
    """A number that no run in this folder has had. Raises OSError."""
    kept = output_dir / KEPT
    kept.mkdir(parents=True, exist_ok=True)
    with open(os.open(kept / "last", os.O_RDWR | os.O_CREAT, 0o666), "r+") as file:
        with suppress(OSError):  # a file system without locks
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
        text = file.read().strip()
        is_known = text.isascii() and text.isdigit()
        last = int(text) if is_known else max(_numbers(output_dir), default=0)
        file.seek(0)
        file.write(f"{last + 1}\n")
        file.truncate()
    return last + 1


def make_folder(output_dir: Path, workflow: str, number: int | None = None) -> Path:
    """The new folder of a run, with this number if it is free. Raises OSError."""
    parent = output_dir / workflow
    parent.mkdir(parents=True, exist_ok=True)
    while True:
        folder = parent / folder_name(number or next_number(output_dir))
        with suppress(FileExistsError):
            folder.mkdir()
            return folder
        number = None


def folders_of(output_dir: Path, number: int) -> list[Path]:
    """The folders with this number: several where each workflow once counted its own runs."""
    found = (parent / folder_name(number) for parent in _parents(output_dir))
    return sorted(folder for folder in found if folder.is_dir())


def newest_folder(output_dir: Path, holding: str) -> Path | None:
    """That of the run with the highest number, among those with a file of this name."""
    for number in sorted(set(_numbers(output_dir)), reverse=True):
        found = [f for f in folders_of(output_dir, number) if os.path.lexists(f / holding)]
        if found:
            return max(found, key=lambda folder: folder.lstat().st_mtime_ns)
    return None


def _numbers(output_dir: Path) -> Iterator[int]:
    for parent in _parents(output_dir):
        with suppress(OSError):
            yield from (int(name) for name in os.listdir(parent) if _NUMBER.fullmatch(name))


def _parents(output_dir: Path) -> list[Path]:
    try:
        names = os.listdir(output_dir)
    except FileNotFoundError:
        return []
    return [output_dir / name for name in names if name != KEPT and (output_dir / name).is_dir()]


# ------------------------------------------------------------------ texts


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def keep_text(output_dir: Path, text: str) -> str:
    """Keep the text of a workflow. Returns its hash. Raises OSError."""
    name = digest(text)
    path = _text_path(output_dir, name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode("utf-8", "surrogatepass"), mode=0o600)
    return name


def kept_text(output_dir: Path, name: str) -> str | None:
    """The text with this hash; None when it is not kept, or is not what it was."""
    try:
        text = _text_path(output_dir, name).read_bytes().decode("utf-8", "surrogatepass")
    except (OSError, ValueError):
        return None
    return text if digest(text) == name else None


def _text_path(output_dir: Path, name: str) -> Path:
    return output_dir / KEPT / "workflows" / f"{os.path.basename(name)}.json"
