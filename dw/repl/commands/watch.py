"""`watch`: follow the files of the workflow, and tell what changes or run at each change."""

from __future__ import annotations

from collections.abc import Iterator

from dw.errors import UsageError
from dw.repl.commands.registry import Call, Candidate, Parameter, Words, command
from dw.repl.commands.run import COUNT, SWEPT, TIMEOUT
from dw.repl.session import Session


def _run(_session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    yield Candidate("run", "run at once and at each change")


@command(
    "watch",
    "follow the workflow's files until Ctrl-C: tell each change and its cost, or `watch run`",
    Parameter("run", "run at once and at each change", source=_run),
    SWEPT,
    COUNT,
    TIMEOUT,
    example="watch run lora=checkpoints/",
)
def watch(session: Session, call: Call) -> None:
    if call.word not in (None, "run"):
        raise UsageError(
            f"watch takes run, got {call.word!r}", hints=[f"usage: {call.command.usage}"]
        )
    from dw.console.watched_files import WatchedFiles  # watchdog, which the prompt starts without
    from dw.repl.watching import Watch

    with WatchedFiles() as files, session.monitor.signals.waking(files.end):
        Watch(session, call, files).run()
