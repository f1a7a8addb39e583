"""Text files: UTF-8 with or without a byte order mark; what is not is told at its first byte.

A device has no end and a pipe may have no writer, so that only regular files are read, up to a
limit.
"""

from __future__ import annotations

import errno
import stat
from pathlib import Path

LARGEST = 50 * 2**20  # bytes

_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}
"""Byte order marks. That of UTF-32 begins with one of UTF-16, so that it is looked for first."""


class NotUtf8(ValueError):
    """Bytes that are not UTF-8 text; `line` and `column` are those of the first wrong one."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column

    def where(self, path: str | Path) -> str:
        return f"{path}:{self.line}:{self.column}"


def read_text(path: Path) -> str:
    """The text of a file. Raises OSError, and NotUtf8 as `decoded` does."""
    return decoded(read_bytes(path))


def read_bytes(path: Path, *, may_be_pipe: bool = False) -> bytes:
    """The content of a regular file, or of a pipe, of at most LARGEST bytes. Raises OSError for any
    other."""
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or (may_be_pipe and stat.S_ISFIFO(mode))):
        raise OSError(errno.EINVAL, "not a file" if stat.S_ISDIR(mode) else "not a regular file")
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)  # the size of a file of /proc is 0
    if len(data) > LARGEST:
        raise OSError(errno.EFBIG, f"larger than {LARGEST // 2**20} MB")
    return data


def decoded(data: bytes) -> str:
    """The text, without its byte order mark. Raises NotUtf8."""
    if name := _other_encoding(data):
        raise NotUtf8(f"{name} text; save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _not_utf8(data, error.start) from None
    if (at := data.find(b"\x00")) >= 0:  # UTF-8, but of no text
        raise _not_utf8(data, at)
    return text.removeprefix("\ufeff")


def _other_encoding(data: bytes) -> str | None:
    for mark, name in _MARKS.items():
        if data.startswith(mark):
            return name
    # Without a mark every other byte of UTF-16 is 0 where the text is ASCII.
    for first in (0, 1):
        zeros, others = data[first::2], data[1 - first :: 2]
        if zeros.count(0) > len(zeros) / 2 and others.count(0) < len(others) / 10:
            return "UTF-16"
    return None


def _not_utf8(data: bytes, at: int) -> NotUtf8:
    """The error for the byte at offset `at`; those before it are UTF-8."""
    before = data[:at].decode().removeprefix("\ufeff")
    line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    byte = data[at : at + 1]
    meant = byte.decode("cp1252", "ignore")  # what editors on Windows write
    hint = f", which is {meant!r} in Windows-1252" if meant and meant.isprintable() else ""
    message = f"not UTF-8 text: byte 0x{byte.hex()} at offset {at}{hint}; save it as UTF-8"
    return NotUtf8(message, line, column)
