"""Run requests: the document, its arguments, a seed, limits and a deadline as one command."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from dw.errors import ListArguments, UsageError
from dw.events import Run
from dw.redaction import Secrets
from dw.run_folders import next_number
from dw.seeds import MAX_SEED

if TYPE_CHECKING:
    from dw.jobs.worker import WorkerClient
    from dw.jobs.workflow_arguments import OpenWorkflow
    from dw.settings import Settings
    from dw.types import Permissions


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run, ready to submit. It may execute for `timeout_s`; loading does not count. `path` is the
    workflow's file as the user named it.
    """

    run: Run
    timeout_s: float
    path: Path

    def repeated(self, run_id: int, timeout_s: float | None = None) -> RunRequest:
        """A run with the same text, arguments and seed under a new id."""
        run = replace(self.run, run_id=run_id)
        return replace(self, run=run, timeout_s=timeout_s or self.timeout_s)


def run_request(
    workflow: OpenWorkflow,
    settings: Settings,
    permissions: Permissions,
    *,
    run_id: int,
    timeout_s: float | None = None,
    drawn_seed: int | None = None,
    output_dir: Path | None = None,
    secrets: Secrets = MappingProxyType({}),
    are_typed: bool = True,
    preview_s: float | None = None,
    partial_images: int = 0,
) -> RunRequest:
    """The request to run a workflow with the arguments that are set for it.

    The deadline is `timeout_s`, else the workflow's own `timeout`, else the setting. `drawn_seed`
    is for a run in which neither the user nor the workflow names a seed; without one it is drawn
    here. `output_dir` is taken as it is; without one it is the setting's, made absolute. `secrets`:
    values that are not written anywhere. `are_typed`: the user gave the arguments, which may then
    name files anywhere. `preview_s` and `partial_images`: as in `events.Run`. Raises UsageError for
    an argument that no longer fits, and for one that is required and missing; a rehearsal takes its
    default.
    """
    missing = [name for name in workflow.document.required if name not in workflow.overrides]
    if missing and not settings.rehearse:
        raise UsageError(
            "; ".join(f"Missing required field: {name!r}" for name in missing),
            hints=[ListArguments(", ".join(workflow.document.variables))],
        )
    drawn_seed = draw_seed() if drawn_seed is None else drawn_seed
    timeouts_s = (
        timeout_s,
        workflow.document.filled(workflow.overrides).get("timeout"),
        settings.timeout,
    )
    run = Run(
        run_id,
        path=str(workflow.path.absolute()),
        text=workflow.document.text,
        arguments=dict(workflow.overrides),
        output_dir=str(output_dir or Path(settings.output_dir).expanduser().absolute()),
        seed=drawn_seed if workflow.seed == "random" else workflow.seed,
        drawn_seed=drawn_seed,
        device=None if settings.device == "auto" else settings.device,
        rehearse=settings.rehearse,
        permissions=permissions,
        secrets=dict(secrets),
        are_typed=are_typed,
        preview_s=preview_s,
        partial_images=partial_images,
        metadata=settings.metadata and are_typed,  # a caller is not told the workflow
        texts=workflow.document.texts(),
    )
    return RunRequest(run, next(each for each in timeouts_s if each is not None), workflow.path)


def next_run(client: WorkerClient, settings: Settings) -> int:
    """The number of a new run: that of its folder, unless a server makes the folder or it cannot be
    made, which the run reports."""
    if not settings.server:
        with suppress(OSError):
            return next_number(Path(settings.output_dir).expanduser().absolute())
    return client.next_id()


def draw_seed() -> int:
    """A random seed."""
    return random.SystemRandom().randint(0, MAX_SEED)
