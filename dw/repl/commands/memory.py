"""`memory`, `clear`: the models in the worker's memory, and freeing them."""

from __future__ import annotations

from dw.events import Clear, Report, Reported
from dw.repl.commands.registry import Call, Parameter, command
from dw.repl.session import Session


@command("memory", "show the GPU's memory and each component in it", example="memory")
def memory(session: Session, _call: Call) -> None:
    if not session.has_worker:
        session.renderer.result("No worker is running, so nothing is loaded")
        return
    reported = session.monitor.request(Report(session.client.next_id()))
    if isinstance(reported, Reported):
        session.device = reported.memory.device


@command(
    "clear",
    "free the models and show what is left",
    Parameter("--hard", "by replacing the worker's process", kind="flag"),
    example="clear",
)
def clear(session: Session, call: Call) -> None:
    if not session.has_worker:
        session.renderer.status("No worker is running, so there is nothing to clear")
        return
    session.renderer.status("Clearing GPU memory...")
    if "--hard" in call.flags:
        session.stop_worker()
        session.renderer.status("GPU memory cleared successfully")
        return
    session.monitor.request(Clear(session.client.next_id()))
