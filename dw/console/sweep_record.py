"""The record of the last sweep below an output folder: its runs, and which of them are done.

`.dw/sweep.jsonl`: a line for the sweep, then one for each run that is done, so that whatever ends
the program leaves a record of what is missing. Only the last sweep is kept.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dw.atomic_files import replace_file
from dw.errors import UsageError
from dw.jobs.sweep import PlannedRun
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import Secrets, redacted_arguments
from dw.refusals import reason

if TYPE_CHECKING:
    from dw.events import Finished
    from dw.types import Permissions

RECORD = Path(".dw", "sweep.jsonl")
_VARIABLE = re.compile(r"\$\{env\.(\w+)\}")


@dataclass(frozen=True, slots=True)
class Done:
    """A run of a sweep that has finished: its folder and its images."""

    folder: Path
    images: tuple[Path, ...]

    @classmethod
    def of(cls, finished: Finished) -> Done:
        images = [
            Path(each.path) for each in finished.outputs if each.content_type.startswith("image/")
        ]
        return cls(Path(finished.output_dir), tuple(images))


@dataclass
class SweepRecord:
    """`done` has an entry for the index of each run that has finished."""

    file: Path
    runs: tuple[PlannedRun, ...]
    done: dict[int, Done] = field(default_factory=dict)
    trouble: str | None = None
    """Why it is not kept."""

    def begin(self, workflow: OpenWorkflow, *, rehearse: bool, secrets: Secrets) -> None:
        """Write its first line, in the place of the sweep before."""
        facts = {
            "path": str(workflow.path.absolute()),
            "text": workflow.document.text,
            "overrides": redacted_arguments(workflow.overrides, secrets),
            "seed": workflow.seed,
            "rehearse": rehearse,
            "hidden": [*secrets.values()],
            "runs": [
                [redacted_arguments(run.arguments, secrets), run.drawn_seed] for run in self.runs
            ],
        }
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.file, _line(facts), mode=0o600)
        except OSError as error:
            self.trouble = reason(error)

    def add(self, index: int, done: Done) -> None:
        self.done[index] = done
        if self.trouble is None:
            line = {"done": index, "folder": str(done.folder), "images": [*map(str, done.images)]}
            try:
                with self.file.open("ab") as file:
                    file.write(_line(line))
            except OSError as error:
                self.trouble = reason(error)

    @property
    def missing(self) -> list[int]:
        return [index for index in range(len(self.runs)) if index not in self.done]


def read_sweep(
    output_dir: Path, permissions: Permissions, secrets: dict[str, str]
) -> tuple[SweepRecord, OpenWorkflow, bool]:
    """The last sweep, its workflow as it was, and whether it was a rehearsal.

    `secrets` gets the values of the environment that the record does not hold, which are read
    again. Raises UsageError when there is none, and WorkflowError.
    """
    from dw.workflow import parse_document

    file = output_dir / RECORD
    try:
        first, *others = file.read_text(encoding="utf-8", errors="replace").splitlines()
        facts = json.loads(first)
        runs = [(dict(arguments), int(seed)) for arguments, seed in facts["runs"]]
        path, text, hidden = Path(facts["path"]), str(facts["text"]), frozenset(facts["hidden"])
        overrides, rehearse = dict(facts["overrides"]), bool(facts["rehearse"])
        seed = facts["seed"]
    except FileNotFoundError:
        raise UsageError(
            f"no sweep was run below {output_dir}", hints=["run seed=1..4   is one"]
        ) from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the record of the last sweep, {file}, is unreadable: {error}") from None

    def revealed(value: Any) -> Any:
        return _revealed(value, hidden, secrets)

    workflow = OpenWorkflow(parse_document(text, path, permissions=permissions))
    workflow.set(revealed(overrides))
    workflow.seed = seed
    record = SweepRecord(file, tuple(PlannedRun(revealed(args), drawn) for args, drawn in runs))
    for line in others:
        with suppress(ValueError, KeyError, TypeError):  # cut by a crash
            each = json.loads(line)
            images = tuple(map(Path, each["images"]))
            record.done[int(each["done"])] = Done(Path(each["folder"]), images)
    return record, workflow, rehearse


def _line(facts: Mapping[str, Any]) -> bytes:
    text = json.dumps(facts, ensure_ascii=False, default=repr)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _revealed(value: Any, hidden: frozenset[str], secrets: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _revealed(each, hidden, secrets) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_revealed(each, hidden, secrets) for each in value]
    if not isinstance(value, str):
        return value

    def look_up(found: re.Match[str]) -> str:
        if found[0] not in hidden:
            return found[0]
        if (now := os.environ.get(found[1])) is None:
            raise UsageError(f"an argument of the sweep came from {found[0]}, which is not set")
        secrets[now] = found[0]
        return now

    return _VARIABLE.sub(look_up, value)
