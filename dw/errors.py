"""Errors: every class with its kind, the exit code of a script, and what a user can do next.

DwError                    run            1
├── UsageError             usage          2   a wrong option, command, name or value
├── WorkflowError          workflow       3   the workflow file is wrong; nothing ran
├── RunFailed              run            1   a run failed and the worker lives
│   ├── OutOfResources     resources      5   GPU memory, host memory or disk is exhausted
│   └── TimedOut           timeout        6   one of the run's clocks expired
├── WorkerLost             worker         4   the worker could not start, died or was killed
├── Interrupted            interrupted  130   the user stopped it
└── Bug                    bug           70   something in dw itself went wrong

A message is lower case and names the thing, the value, what is allowed and the nearest match.
`hints` follow it: facts in plain words, and remedies, which each program spells in its own words
(terminal/remedies.py). An exception that is not a DwError is a bug in dw.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from dw.vocabulary import meant_by

if TYPE_CHECKING:
    from dw.types import Diagnostic

EXIT_OK = 0
EXIT_SIGPIPE = 141

Kind = Literal["usage", "workflow", "run", "resources", "timeout", "worker", "interrupted", "bug"]


# ------------------------------------------------------------------ remedies


@dataclass(frozen=True, slots=True)
class TrustWorkflow:
    """Let the workflow run code, read pickles and name files from anywhere."""

    provided: str = "you trust the workflow"  # a clause: the condition for doing so
    name: Literal["trust_workflow"] = "trust_workflow"


@dataclass(frozen=True, slots=True)
class SetOutputDir:
    """Write the results into another folder."""

    name: Literal["set_output_dir"] = "set_output_dir"


@dataclass(frozen=True, slots=True)
class SetWorkflowDir:
    """Look for workflows in another folder."""

    name: Literal["set_workflow_dir"] = "set_workflow_dir"


@dataclass(frozen=True, slots=True)
class ListWorkflows:
    name: Literal["list_workflows"] = "list_workflows"


@dataclass(frozen=True, slots=True)
class LoadPath:
    """Name the workflow by its path, where a name means several."""

    path: str
    name: Literal["load_path"] = "load_path"


@dataclass(frozen=True, slots=True)
class LoadAnyPath:
    """Name any file as the workflow."""

    name: Literal["load_any_path"] = "load_any_path"


@dataclass(frozen=True, slots=True)
class ListArguments:
    """See the arguments that the workflow declares."""

    listed: str  # separated by commas
    name: Literal["list_arguments"] = "list_arguments"


@dataclass(frozen=True, slots=True)
class ListSettings:
    name: Literal["list_settings"] = "list_settings"


@dataclass(frozen=True, slots=True)
class ListRuns:
    name: Literal["list_runs"] = "list_runs"


@dataclass(frozen=True, slots=True)
class SetWildcards:
    """Look for the files of wildcards in another folder, or take their names as text."""

    name: Literal["set_wildcards"] = "set_wildcards"


@dataclass(frozen=True, slots=True)
class Rehearse:
    """Run the workflow on tiny stand-ins for its models."""

    name: Literal["rehearse"] = "rehearse"


@dataclass(frozen=True, slots=True)
class UseRealModels:
    """Run the workflow without a rehearsal."""

    name: Literal["use_real_models"] = "use_real_models"


@dataclass(frozen=True, slots=True)
class CheckModelName:
    """Look for a mistake in the model's name, in the network or in the rights to a private one."""

    name: Literal["check_model_name"] = "check_model_name"


@dataclass(frozen=True, slots=True)
class LoginToHub:
    name: Literal["login_to_hub"] = "login_to_hub"


@dataclass(frozen=True, slots=True)
class Install:
    """Install what is missing with `command`, which installs an `extra` of dw where it has one."""

    command: str
    extra: str | None = None
    effect: str = ""  # what that allows
    name: Literal["install"] = "install"


@dataclass(frozen=True, slots=True)
class RaiseTimeout:
    """Give the next run `seconds`."""

    seconds: float
    name: Literal["raise_timeout"] = "raise_timeout"


@dataclass(frozen=True, slots=True)
class SetTimeout:
    """Set the timeout of every run."""

    name: Literal["set_timeout"] = "set_timeout"


@dataclass(frozen=True, slots=True)
class RaiseStall:
    """Wait longer for progress."""

    name: Literal["raise_stall"] = "raise_stall"


@dataclass(frozen=True, slots=True)
class RetryRun:
    name: Literal["retry_run"] = "retry_run"


@dataclass(frozen=True, slots=True)
class Restart:
    """Start dw anew."""

    name: Literal["restart"] = "restart"


@dataclass(frozen=True, slots=True)
class ShowMemory:
    name: Literal["show_memory"] = "show_memory"


@dataclass(frozen=True, slots=True)
class ShowTraceback:
    name: Literal["show_traceback"] = "show_traceback"


Remedy = (
    TrustWorkflow
    | SetOutputDir
    | SetWorkflowDir
    | ListWorkflows
    | LoadPath
    | LoadAnyPath
    | ListArguments
    | ListSettings
    | ListRuns
    | SetWildcards
    | Rehearse
    | UseRealModels
    | CheckModelName
    | LoginToHub
    | Install
    | RaiseTimeout
    | SetTimeout
    | RaiseStall
    | RetryRun
    | Restart
    | ShowMemory
    | ShowTraceback
)
"""`name` tells them apart in JSON."""

Hint = str | Remedy


# ------------------------------------------------------------------ errors


class DwError(Exception):
    """An error that a user can understand.

    `where` is a position in front of the message, such as `batch.dw:12` or a step's name.
    """

    kind: ClassVar[Kind] = "run"
    exit_code: ClassVar[int] = 1
    trace: int | None = None  # the number of the traceback, where one was kept
    path: tuple[str | int, ...] = ()  # of what it is about, below the workflow's pipeline
    error_type: str = ""  # its name for clients of a service; empty: that of its kind

    def __init__(
        self, message: str, *, hints: Sequence[Hint] = (), where: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hints = tuple(hints)
        self.where = where

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    @property
    def remedies(self) -> tuple[Remedy, ...]:
        """The hints that name something to do."""
        return tuple(hint for hint in self.hints if not isinstance(hint, str))


class UsageError(DwError):
    kind = "usage"
    exit_code = 2


class WorkflowError(DwError):
    """A workflow that cannot run, with every problem that was found in it."""

    kind = "workflow"
    exit_code = 3

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[Diagnostic] = (),
        hints: Sequence[Hint] = (),
        where: str | None = None,
    ) -> None:
        super().__init__(message, hints=hints, where=where)
        self.problems = tuple(problems)


class RunFailed(DwError):
    kind: ClassVar[Kind] = "run"
    exit_code = 1


class OutOfResources(RunFailed):
    kind = "resources"
    exit_code = 5


class TimedOut(RunFailed):
    kind = "timeout"
    exit_code = 6


class WorkerLost(DwError):
    kind = "worker"
    exit_code = 4


class Interrupted(DwError):
    kind = "interrupted"
    exit_code = 130


class AlreadyShown(Exception):
    """Commands or runs failed and were reported; only the exit code of the first is left."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Bug(DwError):
    kind = "bug"
    exit_code = 70

    @classmethod
    def from_exception(cls, error: Exception) -> Self:
        """The error to show for an exception that is not a DwError."""
        return cls(f"a bug in dw: {told(error, with_type=True)}")


KINDS: dict[Kind, type[DwError]] = {
    each.kind: each
    for each in (
        UsageError,
        WorkflowError,
        RunFailed,
        OutOfResources,
        TimedOut,
        WorkerLost,
        Interrupted,
        Bug,
    )
}
"""The class of each kind; a subclass elsewhere has the kind of its base."""


# ------------------------------------------------------------------ exceptions of libraries

LONGEST_TEXT = 600
"""Characters of one exception in a message: a model that does not fit names all of its layers."""

_SENTENCES = (ValueError, RuntimeError, OSError)
"""What is raised with a sentence for users. The text of others says little without the type."""

_FALLBACKS = (LookupError, AttributeError, UnicodeError, StopIteration)
"""What code catches to try something else. The error of that is no consequence of them."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and those that it came from, the nearest first."""
    seen: set[int] = set()
    each: BaseException | None = error
    is_told = True
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        if is_told:
            yield each
        context = None if each.__suppress_context__ else each.__context__
        is_told = each.__cause__ is not None or not isinstance(context, _FALLBACKS)
        each = each.__cause__ or context


def told(error: BaseException, *, with_type: bool = False) -> str:
    """What an exception says, in one line: all of its text, shortened in the middle of a long list,
    and what its causes add. `with_type`: name its class also where it says a sentence.

    >>> told(ValueError("the width is odd:\\n  63"))
    'the width is odd: 63'
    """
    said: list[str] = []
    for each in causes(error):
        text = " ".join(str(each).split())
        if len(text) > LONGEST_TEXT:
            text = f"{text[:LONGEST_TEXT]} ..."
        if not any(text and text in other for other in said):
            is_sentence = isinstance(each, (*_SENTENCES, DwError)) and text
            is_plain = is_sentence and not (with_type and each is error)
            said.append(text if is_plain else f"{type(each).__name__}: {text}".removesuffix(": "))
    return "; cause: ".join(said[:3])


def did_you_mean(
    name: str, known: Iterable[str], *, by_word: bool = False, cutoff: float = 0.6
) -> str:
    """The end of a sentence: ` (did you mean 'offload'?)`, or nothing when no known name is near,
    whatever its capitals.

    What another program calls a known name counts before what is spelt alike. `by_word`: a name is
    also near when one of its words is. `cutoff` is the likeness that counts.

    >>> did_you_mean("ofload", ["offload", "device"])
    " (did you mean 'offload'?)"
    >>> did_you_mean("cfg", ["num_inference_steps", "guidance_scale"])
    " (did you mean 'guidance_scale'?)"
    >>> did_you_mean("width", ["image_width", "seed"], by_word=True)
    " (did you mean 'image_width'?)"
    """
    names = {each.lower(): each for each in known}
    if meant := meant_by(name, names.values()):
        return f" (did you mean {meant!r}?)"
    nearest = get_close_matches(name.lower(), names, n=1, cutoff=cutoff)
    if by_word and not nearest:
        names = {word: each for each in names.values() for word in each.lower().split("_")}
        nearest = get_close_matches(name.lower(), names, n=1, cutoff=0.8)
    return f" (did you mean {names[nearest[0]]!r}?)" if nearest else ""
