"""Tracebacks of the last failures, by number."""

from __future__ import annotations

from dw.errors import UsageError

KEPT = 50


class Tracebacks:
    """Keeps the last KEPT texts under the numbers in the error messages."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def keep(self, number: int, text: str) -> None:
        self._texts[number] = text
        while len(self._texts) > KEPT:
            del self._texts[next(iter(self._texts))]

    def __contains__(self, number: int | None) -> bool:
        """Whether it is kept; without a number, whether any is."""
        return bool(self._texts) if number is None else number in self._texts

    def find(self, number: int | None = None) -> str:
        """The text of a failure, by default of the last. Raises UsageError when it is not kept."""
        if not self._texts:
            raise UsageError("nothing has failed so far")
        if number is None:
            return next(reversed(self._texts.values()))
        if number not in self._texts:
            known = ", ".join(map(str, self._texts))
            raise UsageError(f"unknown trace {number}", hints=[f"kept: {known}"])
        return self._texts[number]
