"""Sweep runs: one run after another, and a contact sheet of their images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dw.console.results import MOST_SHOWN, show_pictures
from dw.console.run_monitor import RunMonitor
from dw.console.sweep_record import Done, SweepRecord
from dw.errors import AlreadyShown, DwError, Interrupted
from dw.events import Finished
from dw.jobs.sweep import PlannedRun, swept
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import Secrets, redacted_arguments, redacted_text
from dw.terminal.brief import Brief
from dw.terminal.messages import display_path
from dw.terminal.renderer import Overall
from dw.terminal.table import as_text, in_one_line

LISTED = 8
"""A longer sweep lists its runs before the first."""

Arguments = Mapping[str, Any]
Execute = Callable[[Arguments, int], Finished]
"""Runs the workflow with these arguments. The seed is for a run that names none."""


@dataclass(frozen=True)
class Sweep:
    """Several runs of one workflow, some of which may be done. `images` is the setting of that
    name."""

    record: SweepRecord
    execute: Execute
    monitor: RunMonitor
    images: str
    secrets: Secrets

    def run(self) -> None:
        """Run those that are not done; one that fails does not end the others.

        Raises the first failure at the end, and what a signal raises at once; the runs before keep
        their sheet.
        """
        renderer, runs = self.monitor.renderer, self.record.runs
        captions = captions_of(runs, self.secrets)
        missing = self.record.missing
        if len(missing) > LISTED:
            for index in missing:
                renderer.status(f"{index + 1:>4}  {captions[index]}")
        failed: dict[int, DwError] = {}
        clock = _Clock(len(missing))
        try:
            for index in missing:
                number = f"{index + 1}/{len(runs)}"
                renderer.overall(clock.overall())
                try:
                    with self.monitor.briefly(Brief(captions[index], number)):
                        self._run(index)
                except Interrupted:
                    raise
                except DwError as error:
                    failed[index] = error
                    error.message = redacted_text(error.message, self.secrets)
                    renderer.error(error, position=f"{number} {captions[index]}", trace=error.trace)
                clock.count()
        finally:
            renderer.overall(None)
            self._save_sheet()
            self._tell_the_end(failed)
        if failed:
            first = next(iter(failed.values()))
            raise AlreadyShown(first.exit_code)

    def _run(self, index: int) -> None:
        run = self.record.runs[index]
        self.record.add(index, Done.of(self.execute(run.arguments, run.drawn_seed)))

    def _tell_the_end(self, failed: Mapping[int, DwError]) -> None:
        renderer, total = self.monitor.renderer, len(self.record.runs)
        if self.record.trouble:
            renderer.warning(f"what is missing of this sweep is not kept: {self.record.trouble}")
        if not (missing := self.record.missing):
            return
        text = f"{total - len(missing)} of {total} runs are done"
        if failed:
            text += f"; failed: {', '.join(str(index + 1) for index in failed)}"
        kept = "" if self.record.trouble else "; rerun --missing does the rest"
        renderer.warning(text + kept)

    def _save_sheet(self) -> None:
        done = dict(sorted(self.record.done.items()))
        present = [
            (index, path) for index, each in done.items() for path in each.images if path.is_file()
        ]
        if len(present) < 2:
            return
        from dw.contact_sheet import Cell, save_contact_sheet

        captions = captions_of(self.record.runs, self.secrets)
        axes = _axes(self.record.runs, self.secrets) if _is_grid(done) else None
        cells = [
            Cell(
                path,
                done[index].folder.name,
                "" if axes else captions[index],
                axes[index] if axes else None,
            )
            for index, path in present
        ]
        folders = [each.folder for each in done.values()]
        path = folders[0].parent / f"sheet-{folders[0].name}-{folders[-1].name}.png"
        save_contact_sheet(cells, path)
        renderer = self.monitor.renderer
        renderer.result(display_path(path))
        renderer.image(path, self.images)


def run_each(
    workflow: OpenWorkflow,
    runs: Sequence[PlannedRun],
    execute: Execute,
    monitor: RunMonitor,
    *,
    images: str,
    record: Path,
    rehearse: bool = False,
    secrets: Secrets = MappingProxyType({}),
) -> None:
    """Run the workflow once, or as a sweep whose record is in the file `record`. Raises what
    `execute` raises, and AlreadyShown."""
    if len(runs) == 1:
        outputs = execute(runs[0].arguments, runs[0].drawn_seed).outputs
        show_pictures([Path(each.path) for each in outputs][:MOST_SHOWN], monitor.renderer, images)
        return
    kept = SweepRecord(record, tuple(runs))
    kept.begin(workflow, rehearse=rehearse, secrets=secrets)
    Sweep(kept, execute, monitor, images, secrets).run()


def save_strip(done: Sequence[tuple[Done, str]]) -> Path | None:
    """Save one picture of all, each with its run's number and its title. Returns its path, which is
    that of the first run's strip; None for less than two. Raises RunFailed."""
    present = [(each, title, p) for each, title in done for p in each.images if p.is_file()]
    if len(present) < 2:
        return None
    from dw.contact_sheet import Cell, save_contact_sheet

    first = done[0][0].folder
    path = first.parent / f"strip-{first.name}.png"
    save_contact_sheet([Cell(p, each.folder.name, title) for each, title, p in present], path)
    return path


def captions_of(runs: Sequence[PlannedRun], secrets: Secrets) -> list[str]:
    """For each run what tells it from the others."""
    shown = [redacted_arguments(run.arguments, secrets) for run in runs]
    names = swept(shown) or list(shown[0])[:1]
    return [caption(run, names) for run in shown]


def caption(run: Arguments, names: Sequence[str]) -> str:
    """The arguments that differ from the other runs: `seed=3, steps=20`, or only a lone text.

    Short ones come first, because a contact sheet may show the beginning only.
    """
    if len(names) == 1 and isinstance(value := run[names[0]], str) and not value.isdigit():
        return in_one_line(value)
    parts = [f"{name}={in_one_line(as_text(run[name]))}" for name in names]
    return ", ".join(sorted(parts, key=len))


def _axes(runs: Sequence[PlannedRun], secrets: Secrets) -> list[tuple[str, str]] | None:
    """The row and the column of each run in a table by the last two names that are swept; one in
    which other names are swept too has rows for each of their values. None for one name."""
    shown = [redacted_arguments(run.arguments, secrets) for run in runs]
    names = swept(shown)
    if len(names) < 2:
        return None
    *rows, column = names
    axes = [(caption(run, rows), caption(run, [column])) for run in shown]
    return axes if len(set(axes)) == len(axes) else None


def _is_grid(done: Mapping[int, Done]) -> bool:
    return all(len(each.images) == 1 for each in done.values())


class _Clock:
    """How long the rest of so many runs takes, by those that are over."""

    def __init__(self, total: int) -> None:
        self._total, self._done = total, 0
        self._begun = time.monotonic()

    def count(self) -> None:
        self._done += 1

    def overall(self) -> Overall:
        if not self._done:
            return Overall(0, self._total)
        each_s = (time.monotonic() - self._begun) / self._done
        return Overall(self._done, self._total, each_s * (self._total - self._done))
