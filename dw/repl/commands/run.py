"""`run`: the open workflow, as its file is now, with the arguments that were set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dw.errors import UsageError
from dw.repl import candidates
from dw.repl.opened import draw_seed
from dw.repl.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.repl.variables import LastRun
from dw.worker.protocol import Finished, Run


@command(
    "run",
    "run the workflow; words override arguments for this run only",
    Parameter("name=value", "arguments for this run", kind="pairs", source=candidates.arguments),
    Parameter("--timeout SECONDS", "how long it may execute", kind="option"),
    example="run steps=30 seed=7",
)
def run(session: Session, call: Call) -> None:
    timeout_s = _seconds(call.flags["--timeout"]) if "--timeout" in call.flags else None
    opened = session.workflow
    session.warn(opened.update(session.read(opened.path)))
    overrides, seed = opened.merged(call.pairs, session.last_seed)
    request = Run(
        session.client.next_id(),
        path=str(opened.path.absolute()),
        text=opened.document.text,
        arguments=overrides,
        seed=draw_seed() if seed == "random" else seed,
        trust=session.habits.trust,
        **_settings(session),
    )
    session.served = opened.path.resolve()
    finished = session.request(
        request, path=opened.display, timeout_s=timeout_s or session.settings.timeout
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


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise UsageError(f"--timeout must be a number of seconds above 0, got {text!r}")
    return seconds
