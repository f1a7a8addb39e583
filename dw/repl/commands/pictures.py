"""`images`, `open`: the results of a past run, in the terminal and in the system's own program."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

from dw.console.results import show_pictures
from dw.errors import UsageError
from dw.repl.commands.registry import Call, command
from dw.repl.commands.run import RUN
from dw.repl.session import Session
from dw.run_record import find_past
from dw.terminal.messages import display_path

MOST_OPENED = 8
"""Files; of a run with more the folder is opened."""


@command(
    "images", "show the pictures of a run, by default of the last one", RUN, example="images 12"
)
def images(session: Session, call: Call) -> None:
    files = _files(session, call.word)
    for path in files:
        session.renderer.result(display_path(path))
    show_pictures(files, session.renderer, session.settings.images)


@command(
    "open",
    "open the files of a run in the system's own program, by default of the last one",
    RUN,
    example="open 12",
)
def open_(session: Session, call: Call) -> None:
    files = _files(session, call.word)
    opener = _opener()
    for path in files if len(files) <= MOST_OPENED else [files[0].parent]:
        started = subprocess.Popen(
            [opener, str(path)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is not for it
        )
        threading.Thread(target=started.wait, daemon=True).start()  # no zombie stays
        session.renderer.result(display_path(path))


def _files(session: Session, word: str | None) -> list[Path]:
    """The results of a run that are still there. Raises UsageError when there are none."""
    run = find_past(session.output_dir, word)
    files = [path for path in run.files if path.is_file()]
    if not files:
        gone = "has no files any more" if run.files else "saved no file"
        raise UsageError(f"run {run.number} {gone}", hints=[f"show {run.number}"])
    return files


def _opener() -> str:
    """The program that opens a file as its kind is opened here. Raises UsageError."""
    name = {"darwin": "open", "win32": "explorer"}.get(sys.platform, "xdg-open")
    if (found := shutil.which(name)) is None:
        raise UsageError(f"{name} is not installed", hints=["images   shows them in the terminal"])
    return found
