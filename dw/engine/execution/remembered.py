"""Remembered values: what the last run of a workflow taught."""

from __future__ import annotations

import hashlib
from typing import Generic, TypeVar

from dw.workflow import Document

T = TypeVar("T")


class Remembered(Generic[T]):
    """A value that belongs to one workflow, as long as its text stays the same."""

    def __init__(self) -> None:
        self._digest = ""
        self._value: T | None = None

    def of(self, document: Document) -> T | None:
        return self._value if self._digest == digest_of(document) else None

    def keep(self, document: Document, value: T) -> None:
        self._digest, self._value = digest_of(document), value

    def forget(self) -> None:
        self._digest, self._value = "", None


def digest_of(document: Document) -> str:
    """Of the text of the document and all of its sub-workflows."""
    inner = "".join(digest_of(child) for child in document.children.values())
    return hashlib.sha256(f"{document.text}\0{inner}".encode()).hexdigest()
