"""Sweep runs: one run after another, and a contact sheet of their images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.events import Finished
from dw.jobs.request import draw_seed
from dw.jobs.sweep import combinations, swept
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import Secrets, redacted_arguments
from dw.terminal.messages import display_path
from dw.terminal.renderer import Renderer
from dw.terminal.table import as_text, in_one_line

LISTED = 8
"""A longer sweep lists its runs before the first."""

Arguments = Mapping[str, Any]
Execute = Callable[[Arguments, int | None], Finished]
"""Runs the workflow with these arguments. The seed is for a run that names none: the sweep's, or
None where each run draws its own."""


def run_each(
    workflow: OpenWorkflow,
    given: Sequence[tuple[str, Any]],
    execute: Execute,
    renderer: Renderer,
    *,
    images: str,
    last_seed: int | None = None,
    secrets: Secrets = MappingProxyType({}),
) -> None:
    """Run the workflow once, or for each combination of the values that are given.

    `images` is the setting of that name. Raises UsageError before the first run when a value does
    not fit, and what `execute` raises; the runs before keep their sheet.
    """
    runs = combinations(workflow, given)
    for arguments in runs:
        workflow.with_arguments(arguments, last_seed)
    if len(runs) == 1:
        execute(runs[0], None)
        return
    names = swept(runs) or list(runs[0])[:1]
    captions = [caption(redacted_arguments(run, secrets), names) for run in runs]
    if len(runs) > LISTED:
        for number, text in enumerate(captions, start=1):
            renderer.status(f"{number:>4}  {text}")
    # One seed for all, so that their images differ only by the swept arguments.
    drawn_seed = None if "seed" in runs[0] else draw_seed()
    done: list[tuple[Finished, str]] = []
    try:
        for number, (arguments, text) in enumerate(zip(runs, captions, strict=True), start=1):
            renderer.status(f"Run {number} of {len(runs)}: {text}")
            done.append((execute(arguments, drawn_seed), text))
    finally:
        _save_sheet(done, renderer, images)


def caption(run: Arguments, names: Sequence[str]) -> str:
    """The arguments that differ from the other runs: `seed=3, steps=20`, or only a lone text.

    Short ones come first, because a contact sheet may show the beginning only.
    """
    if len(names) == 1 and isinstance(value := run[names[0]], str) and not value.isdigit():
        return in_one_line(value)
    parts = [f"{name}={in_one_line(as_text(run[name]))}" for name in names]
    return ", ".join(sorted(parts, key=len))


def _save_sheet(done: Sequence[tuple[Finished, str]], renderer: Renderer, how: str) -> None:
    images = [
        (Path(output.path), text)
        for finished, text in done
        for output in finished.outputs
        if output.content_type.startswith("image/")
    ]
    if len(images) > 1:
        from dw.terminal.contact_sheet import save_contact_sheet

        first, last = (Path(finished.output_dir) for finished in (done[0][0], done[-1][0]))
        path = first.parent / f"sheet-{first.name}-{last.name}.png"
        save_contact_sheet(images, path)
        renderer.result(display_path(path))
        renderer.image(path, how)
