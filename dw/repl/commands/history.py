"""`history`, `show`: past runs of all sessions, from their records in `output_dir`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.commands.run import RUN
from dw.repl.session import Session
from dw.run_record import Past, find_past
from dw.short_text import as_text, in_one_line
from dw.terminal.messages import display_path

LISTED = 20
HEADER = ("N", "started", "workflow", "state", "seconds", "what")
AROUND = 20  # characters on each side of a match


@command(
    "history",
    "past runs, the newest last: their prompt, and what differs from the run before",
    Parameter("TEXT", "only runs that mention it: workflow, state, seed, arguments", many=True),
    Parameter("--all", f"not only the newest {LISTED}", kind="flag"),
    example="history fox died",
)
def history_(session: Session, call: Call) -> None:
    from dw.run_index import RunIndex  # SQLite, which the prompt starts without

    with RunIndex(session.output_dir) as index:
        runs, total = index.search(call.words, None if "--all" in call.flags else LISTED)
        rows = [
            (
                run.number,
                _moment(run.started, "minutes"),
                run.folder.parent.name,
                run.state,
                _seconds(run),
                _what(run, index.before(run), call.words),
            )
            for run in runs
        ]
    session.renderer.table(HEADER, rows, wraps=False)  # `show` has all of it
    if not runs:
        session.renderer.status(f"No such run below {display_path(session.output_dir)}")
    elif len(runs) < total:
        session.renderer.status(f"The newest {LISTED} of {total}; history --all shows all of them")


@command("show", "all about a past run, by default the last one", RUN, example="show 12")
def show(session: Session, call: Call) -> None:
    run = find_past(session.output_dir, call.word)
    session.renderer.table(("what", "is"), [*_rows(run)])


def _what(run: Past, before: Past | None, words: Sequence[str]) -> str:
    """Why it failed; what was searched for; the prompt; the arguments that the run before had
    otherwise."""
    arguments = run.arguments
    matches = {name: found for name, value in arguments.items() if (found := _match(value, words))}
    parts = [str(run.facts["cause"])] if run.facts.get("cause") else []
    parts += [f"{name}={found}" for name, found in matches.items() if name != "prompt"]
    if "prompt" in arguments:
        parts.append(matches.get("prompt") or in_one_line(arguments["prompt"]))
    if before is not None:
        parts += [
            f"{name}={in_one_line(as_text(value))}"
            for name, value in arguments.items()
            if name != "prompt" and name not in matches and before.arguments.get(name) != value
        ]
    elif "seed" in arguments and "seed" not in matches:
        parts.append(f"seed={in_one_line(as_text(arguments['seed']))}")
    return ", ".join(parts)


def _match(value: Any, words: Sequence[str]) -> str | None:
    """A text around the first of the words in it."""
    text = " ".join(as_text(value).split())
    folded = text.casefold()
    for word in words:
        if len(folded) == len(text) and (at := folded.find(word.casefold())) >= 0:
            begin, end = max(0, at - AROUND), at + len(word) + AROUND
            return f"{'…' * (begin > 0)}{text[begin:end]}{'…' * (end < len(text))}"
    return None


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
    for path in run.files:
        yield "file", display_path(path)
    if models := facts.get("models"):
        yield "models", ", ".join(f"{name} {_short(each)}" for name, each in models.items())
    yield "versions", ", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items())


def _short(fingerprint: Any) -> str:
    content = fingerprint.get("content") if isinstance(fingerprint, dict) else fingerprint
    return str(content)[:10]


def _seconds(run: Past) -> str:
    return "" if run.seconds is None else f"{run.seconds:.1f}"


def _moment(time: datetime | None, precision: str) -> str:
    """In local time."""
    if time is None:
        return ""
    return time.astimezone().replace(tzinfo=None).isoformat(" ", timespec=precision)
