"""`run`: the open workflow, as its file is now, with the arguments that were set; `retry`: the same
once more.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from dw.errors import UsageError
from dw.repl import candidates
from dw.repl.opened import draw_seed
from dw.repl.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.repl.variables import LastRun
from dw.settings import parse_seconds
from dw.worker.protocol import Finished, Run

TIMEOUT = Parameter("--timeout SECONDS", "how long it may execute", kind="option")


@command(
    "run",
    "run the workflow; words override arguments for this run only; the key s ends it early",
    Parameter("name=value", "arguments for this run", kind="pairs", source=candidates.arguments),
    TIMEOUT,
    example="run num_inference_steps=30 seed=7",
)
def run(session: Session, call: Call) -> None:
    timeout_s = _timeout(call)
    opened = session.workflow
    session.warn(opened.update(session.read_to_run(opened.path)))
    overrides, seed = opened.merged(call.pairs, session.last_seed)
    request = Run(
        session.client.next_id(),
        path=str(opened.path.absolute()),
        text=opened.document.text,
        arguments=overrides,
        seed=draw_seed() if seed == "random" else seed,
        **session.limits,
        **_settings(session),
    )
    own_timeout_s = opened.document.filled(overrides).get("timeout")
    _execute(session, request, opened.display, timeout_s or own_timeout_s)


@command(
    "retry",
    "run the very same again: text, arguments and seed of the last run, whatever became of it",
    TIMEOUT,
    example="retry",
)
def retry(session: Session, call: Call) -> None:
    timeout_s = _timeout(call)
    last = session.attempted
    if last is None:
        raise UsageError("nothing was run so far", hints=["run"])
    request = replace(last.run, run_id=session.client.next_id())
    _execute(session, request, last.display, timeout_s or last.timeout_s)


def _execute(session: Session, request: Run, display: str, timeout_s: float | None) -> None:
    session.served = Path(request.path).resolve()
    finished = session.request(
        request, path=display, timeout_s=timeout_s or session.settings.timeout
    )
    if isinstance(finished, Finished):
        _remember(session, finished)


def _settings(session: Session) -> dict[str, Any]:
    settings = session.settings
    return {
        "output_dir": str(Path(settings.output_dir).expanduser().absolute()),
        "device": None if settings.device == "auto" else settings.device,
        "rehearse": settings.rehearse,
    }


def _remember(session: Session, finished: Finished) -> None:
    output = finished.outputs[-1].path if finished.outputs else None
    session.variables.run = LastRun(finished.run_id, finished.seed, output)
    session.device = finished.memory.device


def _timeout(call: Call) -> float | None:
    text = call.flags.get("--timeout")
    return None if text is None else parse_seconds("--timeout", text)
