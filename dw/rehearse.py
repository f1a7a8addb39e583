"""`python -m dw.rehearse WORKFLOW...`: run workflows from end to end on tiny stand-ins.

Nothing is downloaded and nothing kept, unless a folder is given. The workflows run one after the
other in this process, on the CPU. The exit code is 0 when all ran, else that of the first failure:
3 for a workflow that is not valid, 1 for one that failed, 2 when there is no such file.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from dw.errors import EXIT_OK, EXIT_SIGPIPE, DwError, RunFailed
from dw.events import Event, Warned
from dw.settings import Settings, load_settings
from dw.terminal.messages import display_path
from dw.terminal.remedies import PROGRAM
from dw.terminal.renderer import OutputClosed, Stream, error_lines
from dw.terminal.table import aligned
from dw.types import OutputFile

HEADER = ("workflow", "ran", "seconds", "made, or what failed and where")


@dataclass(frozen=True)
class Rehearsal:
    """What came of one workflow file."""

    file: str
    seconds: float
    outputs: tuple[OutputFile, ...]
    notes: tuple[str, ...]  # what was left out, and other warnings
    error: DwError | None

    def row(self) -> tuple[str, str, str, str]:
        if self.error is None:
            return self.file, "yes", f"{self.seconds:.1f}", made(self.outputs)
        return self.file, "no", f"{self.seconds:.1f}", spelled(self.error)

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "ran": self.error is None,
            "seconds": round(self.seconds, 3),
            "outputs": [asdict(output) for output in self.outputs],
            "notes": self.notes,
            "error": None if self.error is None else spelled(self.error),
        }


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    try:
        return _rehearse(given, out, err)
    except OutputClosed:
        return EXIT_SIGPIPE
    except DwError as error:
        for line in error_lines(error, PROGRAM):
            err.line(line)
        return error.exit_code


def made(outputs: Sequence[OutputFile]) -> str:
    """Results in words: `2 image/png 512x512`, `1 video/mp4 256x128, 17 frames`."""
    kinds = Counter(" ".join(_kind(output)) for output in outputs)
    return "; ".join(f"{count} {kind}" for kind, count in kinds.items()) or "nothing to save"


def spelled(error: DwError) -> str:
    """One line of an error: where, and what; for a workflow that is not valid the first problem."""
    problems = [p for p in getattr(error, "problems", ()) if p.severity == "error"]
    if problems:
        rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return f"{problems[0]}{rest}"
    return f"{error.where}: {error.message}" if error.where else error.message


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "dw rehearse",
        description="Run workflows on tiny stand-ins for their models: what fails, and where.",
    )
    parser.add_argument(
        "workflows",
        nargs="+",
        metavar="WORKFLOW",
        help="names in workflow_dir, paths, or folders with all that is in them",
    )
    parser.add_argument("-o", "--output-dir", type=Path, help="keep what is made in this folder")
    parser.add_argument("--json", action="store_true", help="one JSON object for each file")
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    return parser


def _rehearse(given: argparse.Namespace, out: Stream, err: Stream) -> int:
    from dw.workflow.find import workflow_files

    settings = load_settings()
    if given.trust:
        settings = replace(settings, trust=True)
    folder = Path(settings.workflow_dir).expanduser()
    files = [path for name in given.workflows for path in workflow_files(name, folder)]
    done = []
    with _folder(given.output_dir) as output_dir:
        for rehearsal in _each(files, output_dir, settings):
            done.append(rehearsal)
            if given.json:
                out.line(json.dumps(rehearsal.as_json(), ensure_ascii=False))
            else:
                for note in rehearsal.notes:
                    err.line(f"{rehearsal.file}: {note}")
    if not given.json:
        for line in aligned(HEADER, [rehearsal.row() for rehearsal in done]):
            out.line(line)
    return next((r.error.exit_code for r in done if r.error is not None), EXIT_OK)


def _each(files: Iterable[Path], output_dir: Path, settings: Settings) -> Iterator[Rehearsal]:
    from dw.engine import Engine, RunControl
    from dw.workflow import load_document

    engine = Engine()
    for path in files:
        emitted: list[Event] = []
        begun = time.monotonic()
        outputs: tuple[OutputFile, ...] = ()
        failure = None
        try:
            document = load_document(path, permissions=settings.permissions, rehearse=True)
            outputs = engine.run(
                document,
                run_id=0,
                arguments={},
                seed=0,
                output_dir=output_dir,
                device="cpu",
                rehearse=True,
                control=RunControl(),
                emit=emitted.append,
            ).outputs
        except DwError as error:
            failure = error.with_traceback(None)
        if isinstance(failure, RunFailed):
            engine.settle()
        seconds = time.monotonic() - begun
        notes = tuple(event.message for event in emitted if isinstance(event, Warned))
        yield Rehearsal(display_path(path), seconds, outputs, notes, failure)


@contextmanager
def _folder(kept: Path | None) -> Iterator[Path]:
    if kept is not None:
        yield kept
        return
    with TemporaryDirectory(prefix="dw-rehearsal-") as temporary:
        yield Path(temporary)


def _kind(output: OutputFile) -> Iterator[str]:
    yield output.content_type
    if output.width is not None:
        yield f"{output.width}x{output.height}"
    if output.frames is not None and output.frames > 1:
        yield f"{output.frames} frames"
    elif output.seconds is not None:
        yield f"{output.seconds:.1f} s"


if __name__ == "__main__":
    sys.exit(main())
