"""The registry of commands. A command's signature says which arguments it takes, and of which
types."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import torch

from dw.engine.files.access import FileAccess
from dw.engine.models.task_models import TaskParts
from dw.engine.tasks.arguments import misfits
from dw.errors import RunFailed, did_you_mean
from dw.workflow.diagnostics import DataDiagnostic, Diagnostics
from dw.workflow.format.pipeline import Pipeline
from dw.workflow.format.scalars import DeviceName
from dw.workflow.references import PREVIOUS


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a command may need besides its arguments, which it gets by declaring a parameter
    `context`."""

    access: FileAccess  # what the workflow may read, and the folder where its names start
    check: Callable[[], None]  # raises when the run was cancelled
    models: Mapping[str, Any] = field(default_factory=dict)  # that the command declared, by name
    device: str = "cpu"  # where they are
    generator: torch.Generator | None = None  # seeded for the step
    take_stop: Callable[[], bool] = bool  # whether to end early what can be: asked once for a stop

    def on_device(self, value: Any) -> Any:
        """A tensor, or a library's mapping of tensors, on the device of the models."""
        return value.to(self.device)


Declare = Callable[[Mapping[str, Any]], TaskParts | Pipeline]
"""From the arguments of a command, defaults included, to the models that it runs on."""


@dataclass(frozen=True)
class TaskFunction:
    function: Callable[..., Any]
    takes_whole: bool  # the arguments are one value, not keywords
    models: Declare | None
    borrows: str | None  # the name, among the models, of what an earlier step has

    @cached_property
    def parameters(self) -> Mapping[str, inspect.Parameter]:
        """What a workflow may give, with annotations that are types, not texts."""
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
    """What the command takes from the step that `pipeline_reference` names."""
    return _COMMANDS[name].borrows


def check_reference(name: str, reference: str | None) -> Diagnostics:
    """Whether a command that borrows from an earlier step, and no other, says from which one."""
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
    """What the command runs on with these arguments, which must fit it.

    Raises KeyError when that depends on a result that is not there yet.
    """
    command = _COMMANDS[name]
    if command.models is None:
        return {}
    defaults = {n: p.default for n, p in command.parameters.items()}
    return command.models(_Known({**defaults, **arguments}))


class _Known(dict[str, Any]):
    """Arguments; those that are results of earlier steps cannot be looked up yet."""

    def __getitem__(self, name: str) -> Any:
        value = super().__getitem__(name)
        if isinstance(value, str) and value.startswith(PREVIOUS):
            raise KeyError(name)
        return value


def require_fit(name: str, arguments: Any) -> None:
    """Raises RunFailed when the command does not exist or the arguments do not fit it."""
    if findings := list(check_task(name, arguments, are_read=True)):
        raise RunFailed("; ".join(finding.message for finding in findings))


def run_task(name: str, arguments: Any, context: TaskContext) -> list[Any]:
    """The results of a command: a list that it returns holds several, a text is stripped of quotes.

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
    """What is wrong with a command and its arguments. The paths begin at the arguments; an empty
    one is the command's.

    `are_read`: media in the arguments are there, not only named. References are not judged.
    """
    command = _COMMANDS.get(name)
    if command is None:
        yield DataDiagnostic((), f"there is no command {name!r}{did_you_mean(name, _COMMANDS)}")
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
            yield from misfits(argument, annotation, value, are_read=are_read)
        elif argument == "device":
            yield from misfits(argument, DeviceName, value, are_read=are_read)
        elif (hint := did_you_mean(argument, known)) or not command.takes_any:
            yield DataDiagnostic((argument,), f"{name} takes no {argument!r}{hint}", at_key=True)
    for argument, parameter in known.items():
        if parameter.default is parameter.empty and argument not in arguments:
            yield DataDiagnostic((), f"{name} needs {argument!r}")


def _stripped(result: Any) -> Any:
    return result.strip().strip("\"'") if isinstance(result, str) else result
