"""`source`, `let`, `try`: commands for scripts, also available at the prompt."""

from __future__ import annotations

from dw.errors import AlreadyShown
from dw.repl import completion, script
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.short_text import as_text


@command(
    "source",
    "run the commands in a file; the first that fails ends it",
    Parameter("FILE", "one command a line", required=True, source=completion.files),
    example="source examples/demo.dw",
)
def source(session: Session, call: Call) -> None:
    code = script.run(session, [script.read(call.words[0])])
    if code:
        raise AlreadyShown(code)


@command(
    "let",
    "set a variable, which ${name} in a later word stands for; without words: show them",
    Parameter("name=value", "any text", kind="pairs"),
    example="let fox=${run.output}",
)
def let(session: Session, call: Call) -> None:
    user = session.variables.user
    user.update({name: as_text(value) for name, value in call.pairs.items()})
    if not call.pairs:
        session.renderer.table(("variable", "value"), [*user.items()])


@command(
    "try",
    "run a command and go on when it fails; ${status} is then its exit code",
    Parameter(
        "COMMAND", "any other command", kind="rest", required=True, source=completion.commands
    ),
    example="try run num_inference_steps=200",
)
def attempt(session: Session, call: Call) -> None:
    session.variables.status = session.attempt(call.rest, session.position)
