"""`run.json`: what a run is, so that it can be looked up and done again, also when it is lost.

It is there as soon as the run begins. One that still says `running` when nothing runs was lost with
its worker.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import dw
from dw.engine.results import write_failure
from dw.engine.run import Run

State = Literal["running", "finished", "cancelled", "failed"]
VERSIONS = {"dw": dw.__version__, "python": platform.python_version()} | {
    name: version(name) for name in ("torch", "diffusers", "transformers", "accelerate", "peft")
}


class RunRecord:
    """What is known of a run when it begins, and what has become of it."""

    def __init__(self, run: Run, arguments: Mapping[str, Any]) -> None:
        self._run = run
        self._path = run.folder / "run.json"
        self._facts: dict[str, Any] = {
            "workflow": run.workflow.id,
            "path": str(run.document.path),
            "text_sha256": hashlib.sha256(run.document.text.encode()).hexdigest(),
            "arguments": dict(arguments),  # that the user gave
            "resolved_arguments": run.workflow.variables,
            "seed": run.seed,
            "device": run.planner.device.name,
            "rehearse": run.planner.rehearse,
            "started": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "versions": VERSIONS,
        }

    def write(self, state: State) -> None:
        """Raises RunFailed when it cannot be written."""
        run = self._run
        outputs = [{**asdict(o), "path": Path(o.path).name} for o in run.outputs]
        timings = {name: round(seconds, 4) for name, seconds in run.timings_s.items()}
        facts = {
            **self._facts,
            "state": state,
            "steps": [{"name": name, "seed": seed} for name, seed in run.seeds.items()],
            "stopped_early": run.cuts > 0,
            "timings_s": timings,
            "outputs": outputs,
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False, default=repr)
        try:
            beside = self._path.with_name(".run.json.part")
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise write_failure(error, self._path) from error

    def remove(self) -> None:
        """With the folder, when nothing else is in it."""
        self._path.unlink(missing_ok=True)
        self._path.parent.rmdir()
