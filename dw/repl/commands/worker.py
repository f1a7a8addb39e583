"""`status`, `worker`: show, start and stop the worker process."""

from __future__ import annotations

from collections.abc import Iterator

from dw.errors import UsageError, did_you_mean
from dw.jobs.validation import prepare_command
from dw.repl.commands.registry import Call, Candidate, Parameter, Words, command
from dw.repl.session import Session
from dw.short_text import in_one_line
from dw.terminal.messages import display_path, megabytes
from dw.worker.process.resources import silence

VERBS = {
    "start": "start a process before the first run",
    "restart": "replace the process; the models are lost",
    "stop": "end the process; the models are lost",
    "where": "show what it is doing, even when it is stuck",
}


def verbs(_session: Session, _typed: str, _words: Words) -> Iterator[Candidate]:
    for name, doc in VERBS.items():
        yield Candidate(name, doc)


@command("status", "the workflow, what was set, and the worker", example="status")
def status(session: Session, _call: Call) -> None:
    rows: list[tuple[str, str]] = []
    if workflow := session.open_workflow:
        rows += [("workflow", f"{workflow.name} ({display_path(workflow.path)})")]
        rows += [(f"arg {name}", in_one_line(value)) for name, value in workflow.changed().items()]
    else:
        rows += [("workflow", "none")]
    rows += [*_worker_rows(session), ("device", session.device or session.settings.device)]
    rows += [("outputs", session.settings.output_dir)]
    rows += [("rehearse", "on")] if session.settings.rehearse else []
    session.renderer.table(("what", "is"), rows)


def _worker_rows(session: Session) -> Iterator[tuple[str, str]]:
    now = session.client.status()
    yield "worker", now.state if now.pid is None else f"{now.state}, {_process(now.pid, now.rss)}"
    if now.silent_s is not None:
        yield "", silence(now.silent_s)
    if now.standby_trouble:
        yield "standby", f"none: {now.standby_trouble}"
    elif now.standby_pid is not None:
        yield "standby", _process(now.standby_pid, now.standby_rss)
    if now.gpu_memory:
        yield "GPU memory", now.gpu_memory
    if now.restarts:
        yield "restarts", f"{now.restarts} of {now.most_restarts} in a row"


def _process(pid: int, rss: int | None) -> str:
    return f"process {pid}" if rss is None else f"process {pid}, {megabytes(rss)} of memory"


@command(
    "worker",
    "start, stop or inspect the worker process; `where` works even when it is stuck",
    Parameter("start|restart|stop|where", "without a word: its state", source=verbs),
    Parameter("--full", "with `where`: the whole stack of every thread", kind="flag"),
    example="worker where",
)
def worker(session: Session, call: Call) -> None:
    match call.word:
        case None:
            session.renderer.table(("what", "is"), [*_worker_rows(session)])
        case "start":
            _start(session)
        case "restart":
            session.stop_worker()
            _start(session)
        case "stop":
            if not session.has_worker:
                session.renderer.status("No worker is running")
            session.stop_worker()
        case "where":
            session.renderer.result(_where(session, is_full="--full" in call.flags))
        case unknown:
            nearest = did_you_mean(unknown, VERBS)
            raise UsageError(
                f"unknown action {unknown!r}{nearest}",
                hints=[f"worker takes {', '.join(VERBS)}"],
            )


def _where(session: Session, *, is_full: bool) -> str:
    found = session.client.where()
    if found is None:
        return "No worker is running"
    return "\n".join([found.line, found.stack.rstrip()] if is_full else [found.line])


def _start(session: Session) -> None:
    """Start a standby and wait for its imports; the first run turns it into the worker."""
    if session.has_worker:
        session.renderer.status("A worker is running")
        return
    document = session.workflow.document
    session.monitor.request(
        prepare_command(session.client.next_id(), document, session.permissions)
    )
    session.renderer.status("Worker ready")
