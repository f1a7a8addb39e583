"""`dw rehearse WORKFLOW...`: run workflows from end to end on tiny stand-ins for their models.

Nothing is downloaded, and nothing is kept unless a folder is given. The workflows run one after the
other in this process, on the CPU. The exit code is 0 when all ran, else that of the first failure:
3 for a workflow that is not valid, 1 for one that failed, 2 when a file does not exist.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from argparse import Namespace
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from dw.console.signals import Signals
from dw.errors import EXIT_OK, Bug, DwError, Interrupted, RunFailed
from dw.events import Event, Warned
from dw.jobs.request import run_request
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.programs import add_workflow_files, exit_code, named_files, program_parser
from dw.refusals import understood
from dw.settings import Settings, load_settings
from dw.terminal.messages import display_path
from dw.terminal.remedies import PROGRAM
from dw.terminal.renderer import Stream
from dw.terminal.table import aligned
from dw.types import OutputFile

if TYPE_CHECKING:
    from dw.engine import RunControl

HEADER = ("workflow", "ran", "seconds", "results, or the error")


@dataclass(frozen=True)
class Rehearsal:
    """The outcome of one workflow file."""

    file: str
    seconds: float
    outputs: tuple[OutputFile, ...]
    notes: tuple[str, ...]  # warnings, among them what the rehearsal left out
    error: DwError | None

    def row(self) -> tuple[str, str, str, str]:
        if self.error is None:
            return self.file, "yes", f"{self.seconds:.1f}", describe(self.outputs)
        return self.file, "no", f"{self.seconds:.1f}", error_in_one_line(self.error)

    def as_json(self) -> dict[str, Any]:
        return {
            "file": self.file,
            "ran": self.error is None,
            "seconds": round(self.seconds, 3),
            "outputs": [asdict(output) for output in self.outputs],
            "notes": self.notes,
            "error": None if self.error is None else error_in_one_line(self.error),
        }


def main(argv: Sequence[str] | None = None) -> int:
    parser = program_parser("rehearse")
    add_workflow_files(parser)
    parser.add_argument("-o", "--output-dir", type=Path, help="keep the results in this folder")
    given = parser.parse_args(argv)
    signals = Signals()
    return exit_code(lambda out, err: _rehearse(given, out, err, signals), signals)


def describe(outputs: Sequence[OutputFile]) -> str:
    """Results in words: `2 image/png 512x512`, `1 video/mp4 256x128, 17 frames`."""
    kinds = Counter(" ".join(_kind(output)) for output in outputs)
    return "; ".join(f"{count} {kind}" for kind, count in kinds.items()) or "nothing to save"


def error_in_one_line(error: DwError) -> str:
    """An error and what to do in one line; for a workflow that is not valid its first problem."""
    problems = [p for p in getattr(error, "problems", ()) if p.severity == "error"]
    if problems:
        rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        return f"{problems[0]}{rest}"
    return "; ".join([str(error), *PROGRAM.hints(error.hints)])


def _rehearse(given: Namespace, out: Stream, err: Stream, signals: Signals) -> int:
    settings = replace(load_settings(), rehearse=True, device="cpu")
    if given.trust:
        settings = replace(settings, trust=True)
    files = [path for name in given.workflows for path in named_files(name, settings)]
    done = []
    with ExitStack() as stack:
        output_dir = given.output_dir
        if output_dir is None:
            temporary = stack.enter_context(TemporaryDirectory(prefix="dw-rehearsal-"))
            output_dir = Path(temporary)
        for rehearsal in _each(files, output_dir, settings, signals):
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


def _each(
    files: Iterable[Path], output_dir: Path, settings: Settings, signals: Signals
) -> Iterator[Rehearsal]:
    """Raises Interrupted when a signal has cancelled one."""
    from dw.engine import Cancelled, Engine, RunControl
    from dw.workflow import load_document

    engine = Engine()
    for path in files:
        emitted: list[Event] = []
        begun = time.monotonic()
        outputs: tuple[OutputFile, ...] = ()
        failure = None
        try:
            document = load_document(path, permissions=settings.permissions, rehearse=True)
            workflow = OpenWorkflow(document, seed=0)
            request = run_request(
                workflow, settings, settings.permissions, run_id=0, output_dir=output_dir
            )
            control = RunControl()
            with signals.waking(partial(_cancel, control, signals)):
                result = engine.run(document, request.run, control=control, emit=emitted.append)
            outputs = result.outputs
        except Exception as error:
            failure = understood(error).with_traceback(None)
            if isinstance(failure, Bug):
                emitted.append(Warned(0, traceback.format_exc()))
        except Cancelled:
            raise Interrupted(signals.cause) from None
        if isinstance(failure, RunFailed):
            engine.recover()
        seconds = time.monotonic() - begun
        notes = tuple(event.message for event in emitted if isinstance(event, Warned))
        yield Rehearsal(display_path(path), seconds, outputs, notes, failure)


def _cancel(control: RunControl, signals: Signals) -> None:
    """At the next place where nothing is half done, or at a second signal at once."""
    if control.is_cancelled:
        raise KeyboardInterrupt
    control.cancel(signals.cause)


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
