"""What is kept of failures, for the command `trace`."""

from __future__ import annotations

from dw.errors import UsageError

KEPT = 50


class Tracebacks:
    """The full texts of the last failures, by the number that their error message named."""

    def __init__(self) -> None:
        self._texts: dict[int, str] = {}

    def keep(self, number: int, text: str) -> None:
        self._texts[number] = text
        while len(self._texts) > KEPT:
            del self._texts[next(iter(self._texts))]

    def find(self, number: int | None = None) -> str:
        """The text of a failure, by default of the last. Raises UsageError when there is none."""
        if not self._texts:
            raise UsageError("nothing has failed so far")
        if number is None:
            return next(reversed(self._texts.values()))
        if number not in self._texts:
            known = ", ".join(map(str, self._texts))
            raise UsageError(f"there is no trace {number}", hints=[f"there is {known}"])
        return self._texts[number]
