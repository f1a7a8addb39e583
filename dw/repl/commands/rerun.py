"""`rerun`, `retry`: past runs once more, from what is kept of them, whatever the files say now."""

from __future__ import annotations

from dataclasses import replace

from dw.errors import UsageError
from dw.jobs.past_run import workflow_of_run
from dw.jobs.request import next_run
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.commands.run import (
    COUNT,
    RUN,
    SWEPT,
    TIMEOUT,
    execute,
    executing,
    planned,
    run_missing,
    run_planned,
    timeout_of,
)
from dw.repl.session import Session
from dw.run_folders import newest_folder
from dw.run_record import RECORD, find_past


@command(
    "rerun",
    "run a past run again as it was, by default the last one; name=value changes an argument",
    RUN,
    SWEPT,
    COUNT,
    Parameter("--missing", "what the last sweep has not done yet, instead", kind="flag"),
    TIMEOUT,
    example="rerun 9 seed=random",
)
def rerun(session: Session, call: Call) -> None:
    timeout_s = timeout_of(call)
    if "--missing" in call.flags:
        if call.words or call.given:
            raise UsageError("rerun --missing takes neither a run nor arguments")
        run_missing(session, timeout_s)
        return
    past = find_past(session.output_dir, call.word)
    workflow = workflow_of_run(
        past, session.output_dir, session.permissions, session.variables.secrets, call.pairs
    )
    settings = replace(session.settings, rehearse=bool(past.facts.get("rehearse")))
    if settings.rehearse != session.settings.rehearse:
        session.renderer.warning(
            f"run {past.number} was {'a' if settings.rehearse else 'no'} rehearsal, and so is this"
        )
    seed = past.facts.get("seed")
    drawn = seed if isinstance(seed, int) and "seed" not in call.pairs else None
    runs = planned(session, workflow, call, drawn)
    run_planned(session, workflow, runs, executing(session, workflow, timeout_s, settings))


@command(
    "retry",
    "repeat the last run, whatever became of it: its text, arguments and seed",
    TIMEOUT,
    example="retry",
)
def retry(session: Session, call: Call) -> None:
    if session.last_request is None:
        if newest_folder(session.output_dir, RECORD) is None:
            raise UsageError("nothing was run so far", hints=["run"])
        return rerun(session, call)  # it was another session's
    number = next_run(session.client, session.settings)
    execute(session, session.last_request.repeated(number, timeout_of(call)))
    return None
