"""The plain renderer: lines of text only, for scripts, pipes, TERM=dumb and screen readers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from dw import events
from dw.errors import DwError
from dw.events import Event
from dw.terminal.image_protocol import image_protocol
from dw.terminal.messages import COMPONENT_COLUMNS, component_rows
from dw.terminal.remedies import SHELL, Wording
from dw.terminal.renderer import Overall, Stream, error_lines
from dw.terminal.table import aligned, tab_separated

Style = Literal["error", "warning", "dim"]

ANSI: dict[Style, str] = {
    "error": "\033[31m",
    "warning": "\033[33m",
    "dim": "\033[2m",
}
RESET = "\033[0m"
QUARTERS = 4
COLUMNS, ROWS = 80, 24  # of a terminal with an unknown size
BESIDE = 4  # rows that an image leaves to text: its path, the prompt


class PlainRenderer:
    """Results go to `out`, everything else to `err`; at a terminal the two are the same.

    `for_people` aligns tables; otherwise one tab separates their columns. `quiet` omits status and
    progress. `terminal` is the environment of the terminal behind `out`; without it no image is
    shown.
    """

    def __init__(
        self,
        out: Stream,
        err: Stream,
        *,
        for_people: bool = False,
        color: bool = False,
        quiet: bool = False,
        echo: bool = False,
        terminal: Mapping[str, str] | None = None,
        wording: Wording = SHELL,
    ) -> None:
        self._out = out
        self._err = err
        self._for_people = for_people
        self._color = color
        self._quiet = quiet
        self._echo = echo
        self._terminal = terminal
        self._wording = wording
        self._quarters = (("", ""), 0, 0)  # step and phase, quarters shown, units done

    @property
    def width(self) -> int | None:
        return self._out.columns if self._for_people else None

    def begin(self) -> None: ...

    def end(self, exit_code: int) -> None: ...

    def pause(self) -> None: ...

    def bell(self) -> None:
        if self._for_people:
            self._out.raw("\a")

    def overall(self, position: Overall | None) -> None: ...

    def command(self, text: str, position: str | None) -> None:  # noqa: ARG002 - for programs
        if self._echo:
            self._write(self._err, f"dw> {text}")

    def event(self, event: Event, lines: Sequence[str]) -> None:
        is_result = isinstance(event, events.Produced | events.Reported)
        for line in lines:
            (self.result if is_result else self.status)(line)
        match event:
            case events.LogLine():
                if not self._quiet:
                    self._write(self._err, f"  | {event.text}", "dim")
            case events.Warned():
                self.warning(event.message)
            case events.NotFinite() if event.is_allowed:  # else the error says it
                self.warning(f"step {event.name!r}: {event.value}")
            case events.Reported() if event.memory.components:
                self.table(COMPONENT_COLUMNS, component_rows(event.memory))
            case _:
                self.progress(event)

    def progress(self, event: Event) -> None:
        """A line for each component, each workflow step, and each quarter of a phase."""
        match event:
            case events.Loading():
                where = f"{event.index} of {event.total}"
                self.status(f"  loading {event.component} ({event.class_name}), {where}")
            case events.StepStarted():
                self.status(f"  step {event.index} of {event.total}: {event.name}")
            case events.Stepped():
                self._stepped(event)
            case _:
                pass

    def status(self, text: str) -> None:
        if not self._quiet:
            self._write(self._err, text)

    def result(self, text: str) -> None:
        self._write(self._out, text)

    def table(
        self, header: Sequence[str], rows: Sequence[Sequence[str]], *, wraps: bool = True
    ) -> None:
        if self._for_people:
            lines = aligned(header, rows, self.width, wraps=wraps)
        else:
            lines = tab_separated(header, rows)
        for line in lines:
            self.result(line)

    def image(self, path: Path, setting: str) -> None:
        if self._terminal is None:
            return
        if protocol := image_protocol(self._terminal, setting):
            from dw.terminal import images

            columns, rows = self._out.size or (COLUMNS, ROWS)
            # The lines around it stay on the screen.
            shown = images.render_file(path, protocol, columns, max(4, rows - BESIDE))
            self._out.line("", before=shown)

    def shows_previews(self, setting: str) -> bool | None:  # noqa: ARG002 - nothing moves
        return None

    def warning(self, text: str) -> None:
        self._write(self._err, f"warning: {text}", "warning")

    def error(
        self, error: DwError, *, position: str | None = None, trace: int | None = None
    ) -> None:
        first, *rest = error_lines(error, self._wording, position=position, trace=trace)
        self._write(self._err, first, "error")
        for line in rest:
            self._write(self._err, line)

    def traceback(self, text: str) -> None:
        self._write(self._err, text)

    def _stepped(self, event: events.Stepped) -> None:
        """A line for each full quarter. A phase starts again with each call of its pipeline."""
        quarter = event.done * QUARTERS // event.total if event.total else 0
        key, last_quarter, done = self._quarters
        if key != (event.name, event.phase) or event.done <= done:
            last_quarter = 0
        self._quarters = ((event.name, event.phase), quarter, event.done)
        if quarter > last_quarter:
            percent = 100 * event.done // event.total
            self.status(f"  {event.name}: {event.phase} {event.position} ({percent} %)")

    def _write(self, stream: Stream, text: str, style: Style | None = None) -> None:
        if self._color and style is not None:
            stream.line(text, before=ANSI[style], after=RESET)
        else:
            stream.line(text)
