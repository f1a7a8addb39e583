"""Sweep runs: one run after another, and a contact sheet of their images."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from dw.console.results import MOST_SHOWN, show_pictures
from dw.console.run_monitor import RunMonitor
from dw.console.sweep_record import Done, SweepRecord
from dw.errors import AlreadyShown, DwError, Interrupted
from dw.events import Finished
from dw.jobs.captions import Arguments, captions, sheet_cells
from dw.jobs.sweep import PlannedRun
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.redaction import Secrets, redacted_arguments, redacted_text
from dw.terminal.brief import Brief
from dw.terminal.messages import display_path
from dw.terminal.renderer import Overall

LISTED = 8
"""A longer sweep lists its runs before the first."""

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
        titles = captions(self._shown)
        missing = self.record.missing
        if len(missing) > LISTED:
            for index in missing:
                renderer.status(f"{index + 1:>4}  {titles[index]}")
        failed: dict[int, DwError] = {}
        clock = _Clock(len(missing))
        try:
            for index in missing:
                number = f"{index + 1}/{len(runs)}"
                renderer.overall(clock.overall())
                try:
                    with self.monitor.briefly(Brief(titles[index], number)):
                        self._run(index)
                except Interrupted:
                    raise
                except DwError as error:
                    failed[index] = error
                    error.message = redacted_text(error.message, self.secrets)
                    renderer.error(error, position=f"{number} {titles[index]}", trace=error.trace)
                clock.count()
        finally:
            renderer.overall(None)
            self._save_sheet()
            self._tell_the_end(failed)
        if failed:
            first = next(iter(failed.values()))
            raise AlreadyShown(first.exit_code)

    @property
    def _shown(self) -> list[Arguments]:
        """The arguments of each run, as they may be shown."""
        return [redacted_arguments(run.arguments, self.secrets) for run in self.record.runs]

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
        images = {index: [p for p in each.images if p.is_file()] for index, each in done.items()}
        numbers = {index: each.folder.name for index, each in done.items()}
        cells = sheet_cells(self._shown, images, numbers)
        if len(cells) < 2:
            return
        from dw.contact_sheet import save_contact_sheet

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
