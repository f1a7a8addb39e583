"""The registry of commands. A command's signature says which arguments it takes."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from dw.engine.reach import Reach
from dw.errors import RunFailed, did_you_mean


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a command may need besides its arguments, which it gets by declaring a parameter
    `context`."""

    reach: Reach  # what the workflow may read, and the folder where its names start
    check: Callable[[], None]  # raises when the run was cancelled


@dataclass(frozen=True, slots=True)
class Command:
    function: Callable[..., Any]
    takes_whole: bool  # the arguments are one value, not keywords

    @property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters


_COMMANDS: dict[str, Command] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def task(*, takes_whole: bool = False) -> Callable[[Function], Function]:
    """Register a function under its own name."""

    def register(function: Function) -> Function:
        _COMMANDS[function.__name__] = Command(function, takes_whole)
        return function

    return register


def commands() -> tuple[str, ...]:
    return tuple(sorted(_COMMANDS))


def run_task(name: str, arguments: Any, context: TaskContext) -> list[Any]:
    """The results of a command: a list that it returns holds several, a text is stripped of quotes.

    Raises RunFailed when the command does not exist or the arguments do not fit it.
    """
    if problems := [message for _, message in check_task(name, arguments)]:
        raise RunFailed("; ".join(problems))
    command = _COMMANDS[name]
    extra = {"context": context} if "context" in command.parameters else {}
    if command.takes_whole:
        result = command.function(arguments, **extra)
    else:
        # All commands run on the CPU, whatever device a workflow names.
        keywords = {name: value for name, value in arguments.items() if name != "device"}
        result = command.function(**keywords, **extra)
    return [_stripped(r) for r in result] if isinstance(result, list) else [_stripped(result)]


def check_task(name: str, arguments: Any) -> Iterator[tuple[str | None, str]]:
    """What is wrong with a command and its arguments: the argument's name (None: the command)
    and a message."""
    command = _COMMANDS.get(name)
    if command is None:
        yield None, f"there is no command {name!r}{did_you_mean(name, _COMMANDS)}"
        return
    if command.takes_whole:
        return
    known = [n for n in command.parameters if n != "context"]
    if not isinstance(arguments, Mapping):
        yield None, f"{name} takes named arguments: {', '.join(known)}"
        return
    for argument in arguments:
        if argument not in known and argument != "device":
            yield argument, f"{name} takes no {argument!r}{did_you_mean(argument, known)}"
    for argument in known:
        is_required = command.parameters[argument].default is inspect.Parameter.empty
        if is_required and argument not in arguments:
            yield None, f"{name} needs {argument!r}"


def _stripped(result: Any) -> Any:
    return result.strip().strip("\"'") if isinstance(result, str) else result
