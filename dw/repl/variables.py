"""Variables: the values of `${name}`, set by `let`, by the last run and by the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from dw.console.assignment import Assignment
from dw.errors import UsageError, did_you_mean
from dw.repl.lexer import Word
from dw.text_files import LARGEST


@dataclass(frozen=True, slots=True)
class LastRun:
    id: int
    seed: int
    output: str | None = None


@dataclass
class Variables:
    """`status` is the exit code of the last command that `try` ran."""

    user: dict[str, str] = field(default_factory=dict)
    run: LastRun | None = None
    status: int = 0
    secrets: dict[str, str] = field(default_factory=dict)  # see dw/redaction.py

    def expand(self, word: Word) -> str:
        """The text of a word with its variables replaced. Raises UsageError for an unset one, and
        for more text than a file may have: a variable can double with each `let`."""
        count = sum(len(p if isinstance(p, str) else self.lookup(p.name)) for p in word.pieces)
        if count > LARGEST:
            raise UsageError(f"the text has {count} characters; at most {LARGEST} are taken")
        return word.expand(self.lookup)

    def value(self, word: Word) -> Any:
        """The value after the `=`: text, the value of a JSON text, or either from a file."""
        return Assignment(str(word.name), self.expand(word), word.form).value()

    def lookup(self, name: str) -> str:
        """The text for `${name}`. Raises UsageError when it is not set."""
        space, _, rest = name.partition(".")
        if space == "env" and rest:
            return self._environment(rest)
        if space == "run" and rest:
            return self._of_run(rest)
        if name == "status":
            return str(self.status)
        if name in self.user:
            return self.user[name]
        known = [*self.user, "run.output", "run.seed", "run.id", "status"]
        raise UsageError(
            f"${{{name}}} is not set{did_you_mean(name, known)}",
            hints=[f"let {name}=...   sets it"],
        )

    def _environment(self, name: str) -> str:
        if (value := os.environ.get(name)) is None:
            raise UsageError(
                f"{name} is not set in the environment{did_you_mean(name, os.environ)}"
            )
        if value:
            self.secrets[value] = f"${{env.{name}}}"
        return value

    def _of_run(self, name: str) -> str:
        if name not in ("output", "seed", "id"):
            known = ("output", "seed", "id")
            raise UsageError(
                f"${{run.{name}}} is not one of {', '.join(known)}{did_you_mean(name, known)}"
            )
        value = getattr(self.run, name) if self.run else None
        if value is None:
            without = (
                "no run has finished yet" if self.run is None else "the last run saved no file"
            )
            raise UsageError(f"${{run.{name}}} is not set: {without}")
        return str(value)
