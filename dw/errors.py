"""Everything that can go wrong, each with the exit code that a script sees.

DwError                      1
├── UsageError               2   an option, a command, a name or a value that was typed wrong
├── WorkflowError            3   the workflow file is wrong; nothing ran
├── RunFailed                1   a run failed and the worker lives
│   ├── OutOfResources       5   GPU memory, host memory or disk
│   └── TimedOut             6   one of the run's clocks expired
├── WorkerLost               4   the worker could not start, died or was killed
└── Interrupted            130   the user stopped it

A message is lower case, names the thing, the value, what is allowed and the nearest match; `hints`
are the next things to try. Anything that is not a DwError is a bug in dw (exit code 70).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from dw.types import Diagnostic

EXIT_OK = 0
EXIT_BUG = 70
EXIT_SIGPIPE = 141
EXIT_SIGTERM = 143


class DwError(Exception):
    """An error that a user can understand.

    `where` is a position in front of the message, such as `batch.dw:12` or a step's name.
    """

    exit_code: ClassVar[int] = 1
    trace: int | None = None  # the N of `trace N`, where a traceback was kept

    def __init__(
        self, message: str, *, hints: Sequence[str] = (), where: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message


class UsageError(DwError):
    exit_code = 2


class WorkflowError(DwError):
    """A workflow that cannot run, with every problem that was found in it."""

    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[Diagnostic] = (),
        hints: Sequence[str] = (),
        where: str | None = None,
    ) -> None:
        super().__init__(message, hints=hints, where=where)
        self.problems = tuple(problems)


class RunFailed(DwError):
    exit_code = 1


class OutOfResources(RunFailed):
    exit_code = 5


class TimedOut(RunFailed):
    exit_code = 6


class WorkerLost(DwError):
    exit_code = 4


class Interrupted(DwError):
    exit_code = 130


def did_you_mean(
    name: str, known: Iterable[str], *, by_word: bool = False, cutoff: float = 0.6
) -> str:
    """The end of a sentence: ` (did you mean 'offload'?)`, or nothing when no known name is near.

    `by_word`: a name is also near when one of its words is. `cutoff` is the likeness that counts.

    >>> did_you_mean("ofload", ["offload", "device"])
    " (did you mean 'offload'?)"
    >>> did_you_mean("steps", ["num_inference_steps", "seed"], by_word=True)
    " (did you mean 'num_inference_steps'?)"
    """
    names = {each: each for each in known}
    nearest = get_close_matches(name, names, n=1, cutoff=cutoff)
    if by_word and not nearest:
        names = {word: each for each in names for word in each.split("_")}
        nearest = get_close_matches(name, names, n=1, cutoff=0.8)
    return f" (did you mean {names[nearest[0]]!r}?)" if nearest else ""
