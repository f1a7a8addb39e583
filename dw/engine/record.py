"""`run.json`: what a run was, so that it can be looked up and done again."""

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

State = Literal["finished", "cancelled", "failed"]
VERSIONS = {"dw": dw.__version__, "python": platform.python_version()} | {
    name: version(name) for name in ("torch", "diffusers", "transformers", "accelerate", "peft")
}


class RunRecord:
    """Collects what is known of a run when it begins, and writes it when it ends."""

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
        path = run.folder / "run.json"
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise write_failure(error, path) from error
