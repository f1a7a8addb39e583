"""The run record: what a run is and how it ended, written beside its files for the run history."""

from __future__ import annotations

import os
import platform
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dw
from dw import run_record
from dw.engine.cancellation import Cancelled
from dw.engine.execution.run import RunState
from dw.engine.files.outputs import write_failure
from dw.errors import DwError, told
from dw.events import Run
from dw.redaction import redacted, redacted_arguments
from dw.run_folders import digest, keep_text
from dw.types import OutputFile

VERSIONS = {"dw": dw.__version__, "python": platform.python_version()} | {
    name: version(name) for name in ("torch", "diffusers", "transformers", "accelerate", "peft")
}


class RunRecord:
    def __init__(self, run: RunState, request: Run) -> None:
        self._run = run
        self._output_dir = Path(request.output_dir)
        context = run.context
        arguments = redacted_arguments(request.arguments, context.secrets)
        self._facts: dict[str, Any] = {
            "workflow": context.workflow.id,
            "path": str(context.document.path),
            "text_sha256": digest(context.document.text),
            "sub_workflows": {p: digest(text) for p, text in context.document.texts().items()},
            "arguments": arguments,  # of the user
            "hidden": sorted({n for n in context.secrets.values() if _mentions(arguments, n)}),
            "typed_seed": request.seed,
            "resolved_arguments": redacted_arguments(context.workflow.variables, context.secrets),
            "seed": context.seed,
            "device": run.device.name,
            "rehearse": run.planner.context.rehearse,
            "started": run_record.now(),
            "host": platform.node(),
            "pid": os.getpid(),
            "versions": VERSIONS,
        }

    def begin(self) -> None:
        """Write that it runs, and keep the text of its workflow. Raises RunFailed when that is
        impossible, and removes its folder."""
        document, secrets = self._run.context.document, self._run.context.secrets
        try:
            self._write("running")
            for text in (document.text, *document.texts().values()):
                if redacted(text, secrets) == text:  # a text with a token is kept by nobody else
                    keep_text(self._output_dir, text)
        except OSError as error:
            with suppress(OSError):
                (self._run.context.folder / run_record.RECORD).unlink(missing_ok=True)
                self._run.context.folder.rmdir()
            raise write_failure(error, self._run.context.folder / run_record.RECORD) from error

    def end(self, error: BaseException | None = None) -> None:
        """Write how it ended, and why it failed. The files of a run are worth more than its
        record: one that cannot be written is a warning."""
        state, cause = _outcome(error)
        try:
            secrets = self._run.context.secrets
            trace = "".join(traceback.format_exception(error)) if state == "failed" else None
            self._write(
                state,
                cause=redacted(cause, secrets),
                trace=redacted(trace, secrets),
                ended=run_record.now(),
            )
        except OSError as trouble:
            failure = write_failure(trouble, self._run.context.folder / run_record.RECORD)
            self._run.warn(f"{failure.message}; it goes on saying that the run is running")

    def _write(self, state: run_record.RunStatus, **end: str | None) -> None:
        run = self._run
        facts = {
            **self._facts,
            "state": state,
            **end,
            "steps": [{"name": name, "seed": seed} for name, seed in run.seeds.items()],
            "models": {
                label: {"content": each.content(), "files": each.digest}
                for label, each in run.fingerprints().items()
            },
            "stopped_early": run.stop.cuts > 0,
            "not_finite": [
                {"name": each.name, **asdict(each.value), "is_allowed": each.is_allowed}
                for each in run.not_finite
            ],
            "timings_s": {name: round(seconds, 4) for name, seconds in run.timings_s.items()},
            "outputs": [{**asdict(o), "path": self._name(o)} for o in run.outputs],
        }
        run_record.write(run.context.folder, facts)

    def _name(self, output: OutputFile) -> str:
        """The name of a file in the run's folder; the path of one that had to be kept elsewhere."""
        path = Path(output.path)
        return path.name if path.parent == self._run.context.folder else output.path


def _mentions(value: Any, name: str) -> bool:
    """Whether a text in it, at any depth, holds `name`."""
    if isinstance(value, Mapping):
        return any(_mentions(each, name) for pair in value.items() for each in pair)
    if isinstance(value, list | tuple):
        return any(_mentions(each, name) for each in value)
    return isinstance(value, str) and name in value


def _outcome(error: BaseException | None) -> tuple[run_record.RunStatus, str | None]:
    match error:
        case None:
            return "finished", None
        case Cancelled():
            return "cancelled", str(error)
        case KeyboardInterrupt():
            return "cancelled", "cancelled: interrupted"
        case DwError():
            return "failed", str(error)
        case _:
            return "failed", told(error, with_type=True)
