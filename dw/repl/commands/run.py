"""`run`: the open workflow, as its file is now, with the arguments that were set, once or for each
value of a sweep; `retry`: the last run once more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from dw.errors import UsageError
from dw.events import Finished, Run
from dw.jobs import sweep
from dw.jobs.workflow_arguments import draw_seed
from dw.repl import candidates
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session
from dw.repl.variables import LastRun
from dw.settings import parse_seconds
from dw.terminal.messages import display_path

LISTED = 8
"""A sweep of more runs says first what they are."""

TIMEOUT = Parameter("--timeout SECONDS", "how long it may execute", kind="option")


@command(
    "run",
    "run the workflow; words override arguments for this run only; the key s ends it early",
    Parameter(
        "name=value",
        "arguments for this run; several values draw a picture for each and a contact sheet of all:"
        " a name given more than once, or numbers as in steps=20,30 and seed=1..4",
        kind="pairs",
        source=candidates.arguments,
    ),
    TIMEOUT,
    example="run num_inference_steps=30 seed=1..4",
)
def run(session: Session, call: Call) -> None:
    timeout_s = _timeout(call)
    opened = session.workflow
    session.warn(opened.update(session.read_to_run(opened.path)))
    runs = sweep.combinations(opened, call.given)
    for arguments in runs:  # what is wrong with any of them is said before the first
        opened.merged(arguments, session.last_seed)
    if len(runs) == 1:
        _run(session, runs[0], timeout_s)
    else:
        _sweep(session, runs, timeout_s)


def _sweep(session: Session, runs: Sequence[dict[str, Any]], timeout_s: float | None) -> None:
    """One run after the other, and a sheet of all pictures, or of those before one that failed."""
    names = sweep.swept(runs) or list(runs[0])[:1]
    captions = [sweep.caption(run, names) for run in runs]
    if len(runs) > LISTED:
        for number, caption in enumerate(captions, start=1):
            session.renderer.status(f"{number:>4}  {caption}")
    seed = None if "seed" in runs[0] else _shared_seed(session)
    done: list[tuple[Finished, str]] = []
    try:
        for number, (arguments, caption) in enumerate(zip(runs, captions, strict=True), start=1):
            session.renderer.status(f"Run {number} of {len(runs)}: {caption}")
            if finished := _run(session, arguments, timeout_s, seed):
                done.append((finished, caption))
    finally:
        _save_sheet(session, done)


def _shared_seed(session: Session) -> int | None:
    """One for all runs of a sweep, so that only what is swept tells them apart; None where the
    workflow or the user has one."""
    opened = session.workflow
    is_free = opened.seed == "random" or (opened.seed is None and opened.document.seed is None)
    return draw_seed() if is_free and not opened.declares("seed") else None


def _save_sheet(session: Session, done: Sequence[tuple[Finished, str]]) -> None:
    images = [
        (Path(output.path), caption)
        for finished, caption in done
        for output in finished.outputs
        if output.content_type.startswith("image/")
    ]
    if len(images) > 1:
        from dw.terminal.contact_sheet import save_contact_sheet

        first, last = (Path(finished.output_dir) for finished in (done[0][0], done[-1][0]))
        path = first.parent / f"sheet-{first.name}-{last.name}.png"
        save_contact_sheet(images, path)
        session.renderer.result(display_path(path))
        session.renderer.image(path, session.settings.images)


def _run(
    session: Session, pairs: dict[str, Any], timeout_s: float | None, drawn: int | None = None
) -> Finished | None:
    """`drawn`: the seed where the arguments leave it open."""
    opened = session.workflow
    overrides, seed = opened.merged(pairs, session.last_seed)
    if drawn is not None:
        seed = drawn
    request = Run(
        session.client.next_id(),
        path=str(opened.path.absolute()),
        text=opened.document.text,
        arguments=overrides,
        seed=draw_seed() if seed == "random" else seed,
        permissions=session.permissions,
        **_settings(session),
    )
    own_timeout_s = opened.document.filled(overrides).get("timeout")
    return _execute(session, request, opened.display, timeout_s or own_timeout_s)


@command(
    "retry",
    "run the very same again: text, arguments and seed of the last run, whatever became of it",
    TIMEOUT,
    example="retry",
)
def retry(session: Session, call: Call) -> None:
    timeout_s = _timeout(call)
    last = session.last_request
    if last is None:
        raise UsageError("nothing was run so far", hints=["run"])
    request = replace(last.run, run_id=session.client.next_id())
    _execute(session, request, last.display, timeout_s or last.timeout_s)


def _execute(
    session: Session, request: Run, display: str, timeout_s: float | None
) -> Finished | None:
    session.worker_workflow = Path(request.path).resolve()
    finished = session.request(
        request, path=display, timeout_s=timeout_s or session.settings.timeout
    )
    if not isinstance(finished, Finished):
        return None
    _remember(session, finished)
    return finished


def _settings(session: Session) -> dict[str, Any]:
    settings = session.settings
    return {
        "output_dir": str(session.output_dir),
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
