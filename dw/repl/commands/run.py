"""`run`: the open workflow, as its file is now, with the arguments that were set, once or for each
value of a sweep; `retry`: repeats the last run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dw.console.run_sweep import Execute, Sweep, run_each
from dw.console.sweep_record import RECORD, read_sweep
from dw.errors import UsageError
from dw.events import Finished
from dw.jobs.request import RunRequest, next_run, run_request
from dw.jobs.sweep import PlannedRun, plan_runs
from dw.jobs.wildcards import wildcards_of
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import redacted_arguments
from dw.repl import completion
from dw.repl.commands.registry import BACKGROUND, Call, Parameter, command
from dw.repl.session import Session
from dw.repl.variables import LastRun
from dw.settings import Settings, parse_seconds
from dw.short_text import as_text, in_one_line
from dw.terminal.brief import Brief

RUN = Parameter("N", "its number in `history`, or a path of it", source=completion.runs)
TIMEOUT = Parameter("--timeout SECONDS", "how long it may execute", kind="option")
SWEPT = Parameter(
    "name=value",
    "arguments for this run; several values make a run for each and a contact sheet of all:"
    " a name given more than once, numbers as in steps=20,30 or cfg=1.5..3.5 or seed=1..9..2,"
    " classes and files as in sched=A,B, and a line each of a file: prompt=@@prompts.txt",
    kind="pairs",
    source=completion.arguments,
    sweeps=True,
)
COUNT = Parameter("-n COUNT", "so many of each, by consecutive seeds", kind="option")


@command(
    "run",
    "run the workflow; name=value overrides arguments for this run; the key s ends it early",
    SWEPT,
    Parameter(BACKGROUND, "at the end: in the background, as `queue` shows it"),
    COUNT,
    TIMEOUT,
    example="run num_inference_steps=30 seed=1..4",
)
def run(session: Session, call: Call) -> None:
    timeout_s = timeout_of(call)
    if call.word not in (None, BACKGROUND):
        raise UsageError(f"run does not take {call.word!r}", hints=[f"usage: {call.command.usage}"])
    workflow = session.workflow
    if not workflow.is_kept:
        session.warn(workflow.update(session.files.read_to_run(workflow.path)))
    runs = planned(session, workflow, call)
    if call.word == BACKGROUND:
        _run_behind(session, workflow, runs, timeout_s)
        return
    run_planned(session, workflow, runs, executing(session, workflow, timeout_s))


def _run_behind(
    session: Session, workflow: OpenWorkflow, runs: Sequence[PlannedRun], timeout_s: float | None
) -> None:
    """Submit them as they are now, whatever becomes of the files."""
    session.worker_workflow = workflow.path.resolve()
    for run in runs:
        request = request_of(session, workflow, run.arguments, run.drawn_seed, timeout_s)
        differs = ", ".join(_differences(run, session))
        number = session.background.add(request, differs)
        session.renderer.status(f"[{number}] {workflow.name} {differs}".rstrip())


def planned(
    session: Session, workflow: OpenWorkflow, call: Call, drawn_seed: int | None = None
) -> tuple[PlannedRun, ...]:
    """The runs that a call makes. Raises UsageError."""
    return plan_runs(
        workflow,
        call.given,
        count=_count(call),
        last_seed=session.last_seed,
        wildcards=wildcards_of(session.settings),
        drawn_seed=drawn_seed,
    )


def executing(
    session: Session,
    workflow: OpenWorkflow,
    timeout_s: float | None,
    settings: Settings | None = None,
) -> Execute:
    """What runs the workflow with the arguments of a planned run."""

    def one(arguments: Mapping[str, Any], drawn_seed: int) -> Finished:
        return execute(
            session, request_of(session, workflow, arguments, drawn_seed, timeout_s, settings)
        )

    return one


def request_of(
    session: Session,
    workflow: OpenWorkflow,
    arguments: Mapping[str, Any],
    drawn_seed: int,
    timeout_s: float | None = None,
    settings: Settings | None = None,
) -> RunRequest:
    return run_request(
        workflow.with_arguments(arguments, session.last_seed),
        settings or session.settings,
        session.permissions,
        run_id=next_run(session.client, settings or session.settings),
        timeout_s=timeout_s,
        drawn_seed=drawn_seed,
        secrets=session.variables.secrets,
        preview_s=session.preview_s,
    )


def run_planned(
    session: Session,
    workflow: OpenWorkflow,
    runs: Sequence[PlannedRun],
    one: Execute,
    *,
    brief: Brief | None = None,
) -> None:
    """Execute them, one as `report` or `brief` says, several as a sweep."""
    if brief is None and session.settings.report == "brief":
        brief = Brief(", ".join(_differences(runs[0], session)))
    with session.monitor.briefly(brief):
        run_each(
            workflow,
            runs,
            one,
            session.monitor,
            images=session.settings.images,
            record=session.output_dir / RECORD,
            rehearse=session.settings.rehearse,
            secrets=session.variables.secrets,
        )


def run_missing(session: Session, timeout_s: float | None) -> None:
    """The runs of the last sweep that did not finish, in whichever session. Raises UsageError."""
    record, workflow, rehearse = read_sweep(
        session.output_dir, session.permissions, session.variables.secrets
    )
    if not record.missing:
        session.renderer.status(f"Nothing is missing: all {len(record.runs)} runs are done")
        return
    settings = session.settings.changed("rehearse", str(rehearse).lower())
    Sweep(
        record,
        executing(session, workflow, timeout_s, settings),
        session.monitor,
        session.settings.images,
        session.variables.secrets,
    ).run()


def _differences(run: PlannedRun, session: Session) -> list[str]:
    shown = redacted_arguments(run.arguments, session.variables.secrets)
    return [f"{name}={in_one_line(as_text(value))}" for name, value in shown.items()]


def execute(session: Session, request: RunRequest) -> Finished:
    session.worker_workflow = Path(request.run.path).resolve()
    session.last_request = request
    finished = session.monitor.run(request)
    output = finished.outputs[-1].path if finished.outputs else None
    session.variables.run = LastRun(finished.run_id, finished.seed, output)
    session.device = finished.memory.device
    return finished


def timeout_of(call: Call) -> float | None:
    text = call.flags.get("--timeout")
    return None if text is None else parse_seconds("--timeout", text)


def _count(call: Call) -> int | None:
    text = call.flags.get("-n")
    if text is not None and not (text.isascii() and text.isdigit()):
        raise UsageError(f"-n takes a number of runs, got {text!r}")
    return None if text is None else int(text)
