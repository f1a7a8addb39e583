"""`run`: the open workflow, as its file is now, with the arguments that were set, once or for each
value of a sweep; `retry`: repeats the last run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dw.console.run_sweep import run_each
from dw.errors import UsageError
from dw.events import Finished
from dw.jobs.request import RunRequest, run_request
from dw.repl import completion
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.repl.variables import LastRun
from dw.settings import parse_seconds

TIMEOUT = Parameter("--timeout SECONDS", "how long it may execute", kind="option")


@command(
    "run",
    "run the workflow; name=value overrides arguments for this run; the key s ends it early",
    Parameter(
        "name=value",
        "arguments for this run; several values make a run for each and a contact sheet of all:"
        " a name given more than once, or numbers as in steps=20,30 and seed=1..4",
        kind="pairs",
        source=completion.arguments,
    ),
    TIMEOUT,
    example="run num_inference_steps=30 seed=1..4",
)
def run(session: Session, call: Call) -> None:
    timeout_s = _timeout_s(call)
    workflow = session.workflow
    session.warn(workflow.update(session.files.read_to_run(workflow.path)))

    def execute(arguments: Mapping[str, Any], drawn_seed: int | None) -> Finished:
        return _execute(
            session,
            run_request(
                workflow.with_arguments(arguments, session.last_seed),
                session.settings,
                session.permissions,
                run_id=session.client.next_id(),
                timeout_s=timeout_s,
                drawn_seed=drawn_seed,
                secrets=session.variables.secrets,
                preview_s=session.preview_s,
            ),
        )

    run_each(
        workflow,
        call.given,
        execute,
        session.renderer,
        images=session.settings.images,
        last_seed=session.last_seed,
        secrets=session.variables.secrets,
    )


@command(
    "retry",
    "repeat the last run, whatever became of it: its text, arguments and seed",
    TIMEOUT,
    example="retry",
)
def retry(session: Session, call: Call) -> None:
    timeout_s = _timeout_s(call)
    if session.last_request is None:
        raise UsageError("nothing was run so far", hints=["run"])
    _execute(session, session.last_request.repeated(session.client.next_id(), timeout_s))


def _execute(session: Session, request: RunRequest) -> Finished:
    session.worker_workflow = Path(request.run.path).resolve()
    session.last_request = request
    finished = session.monitor.run(request)
    output = finished.outputs[-1].path if finished.outputs else None
    session.variables.run = LastRun(finished.run_id, finished.seed, output)
    session.device = finished.memory.device
    return finished


def _timeout_s(call: Call) -> float | None:
    text = call.flags.get("--timeout")
    return None if text is None else parse_seconds("--timeout", text)
