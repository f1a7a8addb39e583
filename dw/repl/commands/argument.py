"""`arg`: the arguments that the next runs take."""

from __future__ import annotations

from typing import Any

from dw.errors import UsageError
from dw.repl import completion
from dw.repl.argument_table import with_allowed
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.short_text import as_text, in_one_line


@command(
    "arg",
    "set arguments for the next runs, show them, or put them back to their defaults",
    Parameter("name=value", "set these, all or none", kind="pairs", source=completion.arguments),
    Parameter(
        "-NAME|reset|NAME",
        "back to its default; all of them; show one",
        many=True,
        source=completion.unset_names,
        takes_dashes=True,
    ),
    example='arg prompt="a red fox in snow" num_inference_steps=20',
)
def arg(session: Session, call: Call) -> None:
    workflow = session.workflow
    unset = [word.removeprefix("-") for word in call.words if word.startswith("-")]
    named = [word for word in call.words if not word.startswith("-")]
    if named[:1] == ["reset"]:
        before = workflow.changed()
        workflow.reset([*named[1:], *unset])
        _confirm(session, [name for name in before if name not in workflow.changed()])
    elif named:
        for name in named:
            session.renderer.result(as_text(workflow.argument(name).value))
    elif unset or call.pairs:
        _change(session, unset, call.pairs)
    else:
        show(session)


def _change(session: Session, unset: list[str], pairs: dict[str, Any]) -> None:
    """Set and unset, all or none: names are unset only after every value was accepted."""
    workflow = session.workflow
    if both := [name for name in unset if name in pairs]:
        raise UsageError(f"{both[0]} cannot be set and unset at once")
    for name in unset:
        workflow.argument(name)
    workflow.set(pairs, session.last_seed)
    if unset:
        workflow.reset(unset)
    _confirm(session, [*pairs, *unset])


def _confirm(session: Session, names: list[str]) -> None:
    """Show the new values at a prompt."""
    if not session.options.is_script:
        for name in names:
            row = session.workflow.argument(name)
            text = in_one_line(row.value)
            value = f'"{text}"' if isinstance(row.value, str) else text
            session.renderer.status(f"{name} = {value}{'' if row.is_set else ' (default)'}")


def show(session: Session) -> None:
    """Every argument as a table; a star marks what was set."""
    is_script = session.options.is_script
    cell = as_text if is_script else in_one_line
    arguments = session.workflow.arguments()
    rows = [
        (
            f"{row.name}{'*' if row.is_set else ''}",
            row.type,
            cell(row.value),
            cell(row.default) if is_script or row.value != row.default else "",
        )
        for row in arguments
    ]
    header = ("argument", "type", "value", "default")
    session.renderer.table(*with_allowed(header, rows, arguments))
