"""What the tests of commands say: one command, on tiny models, as a workflow runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from dw.events import Stepped
from tests.engine.session import PNG, Json, Session

TEXT: Json = {"content_type": "text/plain"}


def step(command: str, result: Json | None, **arguments: Any) -> Json:
    saved = {} if result is None else {"result": result}
    return {"name": command, "task": {"command": command, "arguments": arguments}, **saved}


def run(session: Session, command: str, result: Json | None = PNG, **arguments: Any) -> Any:
    """Rehearse a workflow of one command; the image or the text that it saves."""
    document = {"id": "demo", "steps": [step(command, result, **arguments)]}
    outputs = session.run(document, rehearse=True).outputs
    if not outputs:
        return None
    if result == TEXT:
        return Path(outputs[0].path).read_text(encoding="utf-8")
    with Image.open(outputs[0].path) as image:
        image.load()
        return image


def phases(session: Session) -> set[str]:
    """What was counted in the last run."""
    return {event.phase for event in session.seen(Stepped)}
