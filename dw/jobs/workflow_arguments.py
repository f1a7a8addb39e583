"""An open workflow: a document, and the arguments that were set for its runs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from dw.errors import DwError, Hint, ListArguments, UsageError, did_you_mean
from dw.seeds import require_seed

if TYPE_CHECKING:
    from dw.types import Diagnostic
    from dw.workflow import Document

SeedArgument = int | Literal["random"] | None

TYPES = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "text",
    list: "list",
    dict: "object",
}
_DECLARED_TYPES = {"string": "text", "array": "list"}
"""Types of JSON Schema under other names than here."""

_LAST = re.compile(r"last([+-]\d+)?")
_OTHERS = ", random, last or last+N"


@dataclass(frozen=True, slots=True)
class Argument:
    """The value that the next run takes, and the default that the file declares. `allowed`: what
    the file's inputs say of its values."""

    name: str
    type: str
    value: Any
    default: Any
    is_set: bool
    allowed: str = ""


@dataclass
class OpenWorkflow:
    """`overrides` are typed values for the variables that the document declares.

    `seed` is the run's own seed, for a workflow that declares no variable of that name: a number,
    "random" for a new one in each run, or None for the file's. `is_kept`: the document is that of
    an earlier run, whatever its file says now.
    """

    document: Document
    overrides: dict[str, Any] = field(default_factory=dict)
    seed: SeedArgument = None
    is_kept: bool = False

    @property
    def name(self) -> str:
        return self.document.id

    @property
    def path(self) -> Path:
        return self.document.path

    def set(self, pairs: Mapping[str, Any], last_seed: int | None = None) -> None:
        """Set all of these, or none. Raises UsageError that names each one that does not fit."""
        merged = self.with_arguments(pairs, last_seed)
        self.overrides, self.seed = merged.overrides, merged.seed

    def with_arguments(
        self, pairs: Mapping[str, Any], last_seed: int | None = None
    ) -> OpenWorkflow:
        """The same document with these on top of what is set. Raises UsageError like `set`."""
        overrides, seed = dict(self.overrides), self.seed
        errors: list[UsageError] = []
        for name, value in pairs.items():
            try:
                if name == "seed" and not self.declares("seed"):
                    seed = seed_of(value, last_seed)
                elif self.is_seed(name) and str(value).startswith("last"):
                    overrides[name] = self._convert(name, seed_of(value, last_seed))
                else:
                    overrides[name] = self._convert(name, value)
            except UsageError as error:
                errors.append(error)
        if errors:
            hints: list[Hint] = [*dict.fromkeys(hint for error in errors for hint in error.hints)]
            hints += ["nothing was changed"] if len(pairs) > 1 else []
            raise UsageError("; ".join(error.message for error in errors), hints=hints)
        return replace(self, overrides=overrides, seed=seed)

    def reset(self, names: Iterable[str] = ()) -> None:
        """Put these, or all, back to the file's defaults. Raises UsageError for unknown ones."""
        chosen = list(names)
        for name in chosen:
            self._check_known(name)
        for name in chosen or [*self.overrides, "seed"]:
            self.overrides.pop(name, None)
            if name == "seed":
                self.seed = None

    def update(self, document: Document) -> list[str]:
        """Take a new version of the document. Returns a sentence for each argument dropped."""
        self.document, self.is_kept = document, False
        dropped: list[str] = []
        for name, value in list(self.overrides.items()):
            try:
                self.overrides[name] = self._convert(name, value)
            except DwError as error:
                del self.overrides[name]
                dropped.append(f"the argument {name} was dropped: {error.message}")
        if self.declares("seed"):
            self.seed = None
        return dropped

    def declares(self, name: str) -> bool:
        return name in self.document.variables

    def arguments(self) -> list[Argument]:
        """Every argument in the order of the file; `seed` is last where the file declares none."""
        rows = [
            Argument(
                name,
                self._type_name(name, default),
                self.overrides.get(name, default),
                default,
                name in self.overrides,
                self._allowed(name),
            )
            for name, default in self.document.variables.items()
        ]
        if not self.declares("seed"):
            default = "random" if self.document.seed is None else self.document.seed
            value = default if self.seed is None else self.seed
            rows.append(Argument("seed", "integer", value, default, self.seed is not None))
        return rows

    def changed(self) -> dict[str, Any]:
        """The arguments that were set, by name."""
        return {row.name: row.value for row in self.arguments() if row.is_set}

    def warnings(self) -> list[Diagnostic]:
        """The document's warnings, without those about defaults that were replaced."""
        replaced = {
            self.document.diagnostic_at(path, "").place
            for path, name in self.document.uses.items()
            if name in self.overrides
        }
        return [each for each in self.document.warnings if each.place not in replaced]

    def argument(self, name: str) -> Argument:
        self._check_known(name)
        return next(row for row in self.arguments() if row.name == name)

    def _type_name(self, name: str, default: Any) -> str:
        limits = self.document.inputs.get(name)
        if default is not None or limits is None or limits.type is None:
            return type_name(default)
        return _DECLARED_TYPES.get(limits.type, limits.type)

    def _allowed(self, name: str) -> str:
        limits = str(self.document.inputs.get(name, ""))
        required = "required" if name in self.document.required else ""
        return "; ".join(filter(None, (required, limits)))

    def _convert(self, name: str, value: Any) -> Any:
        self._check_known(name)
        converted = self.document.convert(name, value)
        if converted is None or not self.is_seed(name):
            return converted
        return require_seed(_number(converted))  # a default of null allows any text

    def is_seed(self, name: str) -> bool:
        """Whether it is the run's seed, or the file takes one of its own or of a step from it."""
        if name == "seed" and not self.declares(name):
            return True
        paths = (path for path, used in self.document.uses.items() if used == name)
        return any(path[-1] == "seed" and "arguments" not in path for path in paths)

    def effective_seed(self, drawn: int) -> int:
        """The seed of a run with these arguments, when `drawn` is drawn for it."""
        declared = self.document.seed if self.seed is None else self.seed
        given = [
            value
            for name, value in {**self.document.variables, **self.overrides}.items()
            if self.is_seed(name) and isinstance(value, int)
        ]
        return declared if isinstance(declared, int) else next(iter(given), drawn)

    def _check_known(self, name: str) -> None:
        names = [*self.document.variables, "seed"]
        if name not in names:
            raise UsageError(
                f"{self.name} has no argument {name!r}{did_you_mean(name, names, by_word=True)}",
                hints=[ListArguments(", ".join(names))],
            )


def type_name(default: Any) -> str:
    return TYPES.get(type(default), "any")


def seed_of(value: Any, last: int | None) -> SeedArgument:
    """The seed that `random`, `last`, `last+1` or a number stands for. Raises UsageError."""
    if value == "random":
        return "random"
    if match := _LAST.fullmatch(str(value)):
        if last is None:
            raise UsageError(f"seed cannot be {value}: there was no run yet")
        return require_seed(last + int(match[1] or 0), or_else=_OTHERS)
    return require_seed(_number(value), or_else=_OTHERS)


def _number(value: Any) -> Any:
    """The integer that a text says; another value as it is."""
    with suppress(ValueError):
        return int(value) if isinstance(value, str) else value
    return value
