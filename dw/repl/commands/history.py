"""`history`, `show`: past runs of all sessions, from their records in `output_dir`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dw import run_record
from dw.errors import UsageError
from dw.repl import completion
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.run_record import Past
from dw.terminal.messages import display_path
from dw.terminal.table import as_text, in_one_line

LISTED = 20
HEADER = ("N", "started", "run", "state", "seconds", "seed", "result")


@command(
    "history",
    "past runs, the newest first",
    Parameter("TEXT", "only runs that mention it: workflow, state, seed, arguments", many=True),
    Parameter("--all", f"not only the newest {LISTED}", kind="flag"),
    example="history fox died",
)
def history_(session: Session, call: Call) -> None:
    runs = reversed(run_record.past(session.output_dir))
    found = [run for run in runs if all(map(run.mentions, call.words))]
    listed = found if "--all" in call.flags else found[:LISTED]
    rows = [
        (
            str(run.number),
            _moment(run.started, "minutes"),
            run.name,
            run.state,
            _seconds(run),
            in_one_line(run.facts.get("seed", "")),
            _result(run),
        )
        for run in listed
    ]
    session.renderer.table(HEADER, rows, wraps=False)  # `show` has the whole cause
    if not found:
        session.renderer.status(f"No such run below {display_path(session.output_dir)}")
    elif len(listed) < len(found):
        session.renderer.status(
            f"The newest {LISTED} of {len(found)}; history --all shows all of them"
        )


@command(
    "show",
    "all about a past run, by default the last one",
    Parameter("N", "its number in `history`", source=completion.runs),
    example="show 12",
)
def show(session: Session, call: Call) -> None:
    runs = run_record.past(session.output_dir)
    if not runs:
        raise UsageError(f"no run found below {display_path(session.output_dir)}", hints=["run"])
    word = call.word
    number = len(runs) if word is None else int(word) if word.isdecimal() else 0
    if not 1 <= number <= len(runs):
        raise UsageError(
            f"show takes the number of a run, from 1 to {len(runs)}, got {word!r}",
            hints=["history   lists them"],
        )
    session.renderer.table(("what", "is"), [*_rows(runs[number - 1])])


def _result(run: Past) -> str:
    """The first file, or the cause of a failure."""
    first, *more = run.files or [str(run.facts.get("cause") or "")]
    return f"{first} and {len(more)} more" if more else first


def _rows(run: Past) -> Iterator[tuple[str, str]]:
    facts = run.facts
    yield "run", f"{run.number}, {display_path(run.folder)}"
    yield "state", run.state
    for name in ("cause", "last_step"):
        if facts.get(name):
            yield name.replace("_", " "), str(facts[name])
    yield "started", _moment(run.started, "seconds")
    yield "seconds", _seconds(run)
    for name in ("load", "execute"):
        if name in facts.get("timings_s", {}):
            yield f"seconds to {name}", f"{facts['timings_s'][name]:.1f}"
    yield "workflow", display_path(facts.get("path", ""))
    for name, value in facts.get("resolved_arguments", {}).items():
        yield f"arg {name}", as_text(value)
    yield "seed", as_text(facts.get("seed", ""))
    for step in facts.get("steps", ()):
        yield f"seed of {step['name']}", as_text(step.get("seed", ""))
    yield "device", str(facts.get("device", ""))
    if facts.get("rehearse"):
        yield "rehearse", "on"
    for name in run.files:
        yield "file", display_path(run.folder / name)
    yield "versions", ", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items())


def _seconds(run: Past) -> str:
    return "" if run.seconds is None else f"{run.seconds:.1f}"


def _moment(time: datetime | None, precision: str) -> str:
    """In local time."""
    if time is None:
        return ""
    return time.astimezone().replace(tzinfo=None).isoformat(" ", timespec=precision)
