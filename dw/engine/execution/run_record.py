"""What a run is and what has become of it, as its worker knows it, for the run history."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dw
from dw import run_record
from dw.engine.cancellation import Cancelled
from dw.engine.execution.run import Run
from dw.engine.files.outputs import write_failure
from dw.errors import DwError

VERSIONS = {"dw": dw.__version__, "python": platform.python_version()} | {
    name: version(name) for name in ("torch", "diffusers", "transformers", "accelerate", "peft")
}


class RunRecord:
    def __init__(self, run: Run, arguments: Mapping[str, Any]) -> None:
        self._run = run
        self._facts: dict[str, Any] = {
            "workflow": run.workflow.id,
            "path": str(run.document.path),
            "text_sha256": hashlib.sha256(run.document.text.encode()).hexdigest(),
            "arguments": dict(arguments),  # that the user gave
            "resolved_arguments": run.workflow.variables,
            "seed": run.seed,
            "device": run.planner.device.name,
            "rehearse": run.planner.rehearse,
            "started": run_record.now(),
            "host": platform.node(),
            "pid": os.getpid(),
            "versions": VERSIONS,
        }

    def begin(self) -> None:
        """Say that it runs. Raises RunFailed when that cannot be written; its folder is gone
        then."""
        try:
            self._write("running")
        except OSError as error:
            with suppress(OSError):
                self._run.folder.rmdir()
            raise write_failure(error, self._run.folder / run_record.RECORD) from error

    def end(self, error: BaseException | None = None) -> None:
        """Say how it ended, by what if not well. The files of a run are worth more than its
        record: one that cannot be written is a warning."""
        state, cause = _outcome(error)
        try:
            self._write(state, cause=cause, ended=run_record.now())
        except OSError as trouble:
            failure = write_failure(trouble, self._run.folder / run_record.RECORD)
            self._run.warn(f"{failure.message}; it goes on saying that the run is running")

    def _write(self, state: run_record.RunStatus, **end: str | None) -> None:
        run = self._run
        facts = {
            **self._facts,
            "state": state,
            **end,
            "steps": [{"name": name, "seed": seed} for name, seed in run.seeds.items()],
            "stopped_early": run.cuts > 0,
            "timings_s": {name: round(seconds, 4) for name, seconds in run.timings_s.items()},
            "outputs": [{**asdict(o), "path": Path(o.path).name} for o in run.outputs],
        }
        run_record.write(run.folder, facts)


def _outcome(error: BaseException | None) -> tuple[run_record.RunStatus, str | None]:
    match error:
        case None:
            return "finished", None
        case Cancelled():
            return "cancelled", str(error)
        case DwError():
            return "failed", str(error)
        case _:
            return "failed", f"{type(error).__name__}: {error}"
