"""`queue`, `cancel`, `wait`: the runs in the background, which `run ... &` starts."""

from __future__ import annotations

from collections.abc import Iterator

from dw.errors import AlreadyShown, Interrupted, UsageError
from dw.repl.commands.registry import Call, Candidate, Parameter, Words, command
from dw.repl.session import Session
from dw.short_text import in_one_line

_LOOK_S = 0.2
_ALL = "all"


def _numbers(session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    for job in session.background.jobs:
        yield Candidate(str(job.number), job.differs)
    yield Candidate(_ALL)


@command("queue", "the runs in the background that have not ended", example="queue")
def queue(session: Session, _call: Call) -> None:
    running = session.client.status().run_id
    rows = [
        (
            str(job.number),
            "running" if job.stream.run_id == running else "waiting",
            in_one_line(job.differs),
        )
        for job in session.background.jobs
    ]
    if rows:
        session.renderer.table(("N", "state", "what"), rows)
    else:
        session.renderer.status("Nothing runs in the background; run ... & starts it there")


@command(
    "cancel",
    "cancel a run in the background, or all of them; the models are kept",
    Parameter("N", "its number in `queue`, or all", required=True, source=_numbers),
    example="cancel 2",
)
def cancel(session: Session, call: Call) -> None:
    known = [job.number for job in session.background.jobs]
    word = call.words[0]
    if word == _ALL:
        numbers = known
    elif word.isascii() and word.isdigit() and int(word) in known:
        numbers = [int(word)]
    else:
        raise UsageError(
            f"there is no run {word!r} in the background", hints=["queue   lists them"]
        )
    for number in numbers:
        session.background.cancel(number)


@command("wait", "wait until nothing runs in the background; fails as its runs do", example="wait")
def wait(session: Session, _call: Call) -> None:
    interrupted: list[None] = []
    with session.monitor.signals.waking(lambda: interrupted.append(None)):
        while not session.background.wait(_LOOK_S):
            session.show_notices()
            if interrupted:
                raise Interrupted("no longer waiting; the runs in the background go on")
    session.show_notices()
    if code := session.background.exit_code():
        raise AlreadyShown(code)
