"""Task registry: commands by name, and the checks of their arguments against their signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch

from dw.engine.files.access import FileAccess
from dw.engine.tasks.arguments import check_argument
from dw.engine.tasks.parts import TaskParts
from dw.errors import RunFailed, did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.format.scalars import DeviceName
from dw.workflow.references import PREVIOUS


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a command may need besides its arguments; it gets one by declaring a parameter
    `context`."""

    access: FileAccess  # what the workflow may read, and the folder of its relative paths
    check: Callable[[], None]  # raises if the run was cancelled
    models: Mapping[str, Any] = field(
        default_factory=dict
    )  # those that the command declares, by name
    device: str = "cpu"  # of the models
    generator: torch.Generator | None = None  # seeded for the step
    take_stop: Callable[[], bool] = lambda: False  # True once for each stop: then end early

    def on_device(self, value: Any) -> Any:
        """A tensor, or a library's mapping of tensors, on the device of the models."""
        return value.to(self.device)


Declare = Callable[[Mapping[str, Any]], TaskParts | Pipeline]
"""Maps the arguments of a command, defaults included, to the models that it runs on."""


@dataclass(frozen=True)
class TaskFunction:
    function: Callable[..., Any]
    takes_whole: bool  # the arguments are one value, not keywords
    models: Declare | None
    borrows: str | None  # the model that comes from an earlier step, by name

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """The parameters that a workflow may set, with annotations evaluated to types."""
        found = inspect.signature(self.function, eval_str=True).parameters
        return {n: p for n, p in found.items() if n != "context" and p.kind is not p.VAR_KEYWORD}

    @cached_property
    def takes_any(self) -> bool:
        """Whether further arguments are passed on to a library."""
        found = inspect.signature(self.function).parameters.values()
        return any(p.kind is p.VAR_KEYWORD for p in found)

    @cached_property
    def wants_context(self) -> bool:
        return "context" in inspect.signature(self.function).parameters


_COMMANDS: dict[str, TaskFunction] = {}

Function = TypeVar("Function", bound=Callable[..., Any])


def task(
    *,
    takes_whole: bool = False,
    models: Declare | None = None,
    borrows: str | None = None,
) -> Callable[[Function], Function]:
    """Register a function under its own name."""

    def register(function: Function) -> Function:
        _COMMANDS[function.__name__] = TaskFunction(function, takes_whole, models, borrows)
        return function

    return register


def commands() -> Mapping[str, TaskFunction]:
    return dict(sorted(_COMMANDS.items()))


def borrowed_by(name: str) -> str | None:
    """The model that the command takes from the step that `pipeline_reference` names."""
    return _COMMANDS[name].borrows


def check_reference(name: str, reference: str | None) -> Diagnostics:
    """Diagnostics unless exactly the commands that borrow from an earlier step name that step."""
    command = _COMMANDS.get(name)
    if command is None:
        return
    if command.borrows and reference is None:
        message = f"{name} needs 'pipeline_reference': the step that has the {command.borrows}"
        yield DataDiagnostic(("command",), message)
    elif reference is not None and not command.borrows:
        message = f"{name} takes no 'pipeline_reference'"
        yield DataDiagnostic(("pipeline_reference",), message, at_key=True)


def models_of(name: str, arguments: Any) -> TaskParts | Pipeline:
    """The models of a command for these arguments, which must fit it.

    Raises KeyError when they depend on a result that does not exist yet.
    """
    command = _COMMANDS[name]
    if command.models is None:
        return {}
    defaults = {n: p.default for n, p in command.parameters.items()}
    return command.models(_Known({**defaults, **arguments}))


class _Known(dict[str, Any]):
    """Arguments; looking up a result of an earlier step raises KeyError."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, str) and value.startswith(PREVIOUS):
            raise KeyError(name)
        return value


def require_fit(name: str, arguments: Any) -> None:
    """Raises RunFailed when the command does not exist or the arguments do not fit it."""
    if diagnostics := list(check_task(name, arguments, are_read=True)):
        raise RunFailed("; ".join(each.message for each in diagnostics))


def run_task(name: str, arguments: Any, context: TaskContext) -> list[Any]:
    """The results of a command: a returned list holds several; texts lose spaces and quotes.

    Raises RunFailed when the command does not exist or the arguments do not fit it.
    """
    require_fit(name, arguments)
    command = _COMMANDS[name]
    extra = {"context": context} if command.wants_context else {}
    if command.takes_whole:
        result = command.function(arguments, **extra)
    else:
        keywords = {name: value for name, value in arguments.items() if name != "device"}
        result = command.function(**keywords, **extra)
    return [_stripped(r) for r in result] if isinstance(result, list) else [_stripped(result)]


def check_task(name: str, arguments: Any, *, are_read: bool = False) -> Diagnostics:
    """Diagnostics of a command and its arguments. Paths start at the arguments; an empty path
    stands for the command.

    `are_read`: media in the arguments are values, not only named. References are not checked.
    """
    command = _COMMANDS.get(name)
    if command is None:
        yield DataDiagnostic((), f"unknown command {name!r}{did_you_mean(name, _COMMANDS)}")
        return
    if not command.takes_whole:
        yield from _check_arguments(name, command, arguments, are_read)


def _check_arguments(
    name: str, command: TaskFunction, arguments: Any, are_read: bool
) -> Diagnostics:
    known = command.parameters
    if not isinstance(arguments, Mapping):
        yield DataDiagnostic((), f"{name} takes named arguments: {', '.join(known)}")
        return
    for argument, value in arguments.items():
        if argument in known:
            annotation = known[argument].annotation
            yield from check_argument(argument, annotation, value, are_read=are_read)
        elif argument == "device":
            yield from check_argument(argument, DeviceName, value, are_read=are_read)
        elif (hint := did_you_mean(argument, known)) or not command.takes_any:
            yield DataDiagnostic((argument,), f"{name} takes no {argument!r}{hint}", at_key=True)
    for argument, parameter in known.items():
        if parameter.default is parameter.empty and argument not in arguments:
            yield DataDiagnostic((), f"{name} needs {argument!r}")


def _stripped(result: Any) -> Any:
    return result.strip().strip("\"'") if isinstance(result, str) else result
