"""The live renderer: plain lines, and below them a progress bar while a run blocks the prompt.

A bar over a live prompt would corrupt the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dw import events
from dw.events import TERMINAL, Event
from dw.short_text import truncated
from dw.terminal.image_protocol import image_protocol
from dw.terminal.plain import PlainRenderer, Style
from dw.terminal.remedies import SHELL, Wording
from dw.terminal.renderer import Overall, Stream, without_controls
from dw.terminal.table import minutes

if TYPE_CHECKING:
    from rich.progress import TaskID

    from dw.terminal.image_protocol import ImageProtocol
    from dw.terminal.live_preview import Bar


class LiveRenderer(PlainRenderer):
    """Starts the bar at the first progress of a command and removes it at the last event."""

    def __init__(
        self,
        out: Stream,
        *,
        color: bool = True,
        echo: bool = False,
        terminal: Mapping[str, str] | None = None,
        wording: Wording = SHELL,
    ) -> None:
        super().__init__(
            out,
            out,
            for_people=True,
            color=color,
            echo=echo,
            terminal=terminal,
            wording=wording,
        )
        self._bar: Bar | None = None
        self._protocol: ImageProtocol | None = None  # of previews
        self._task: tuple[str, TaskID] | None = None
        self._overall: Overall | None = None

    def event(self, event: Event, lines: Sequence[str]) -> None:
        if isinstance(event, TERMINAL):
            self.pause()
        super().event(event, lines)

    def progress(self, event: Event) -> None:
        match event:
            case events.Loading():
                # This component is not loaded yet: the bar is full only when all are.
                done = event.index - 1
                position = f"{done}/{event.total}"
                self._advance("loading", f"loading {event.component}", done, event.total, position)
            case events.Stepped():
                key = f"{event.name}: {event.phase}"
                unit = "B" if event.phase in events.COUNTED_IN_BYTES else "it"
                self._advance(key, key, event.done, event.total, event.position, unit)
            case events.Preview() if self._bar is not None and self._protocol is not None:
                self._bar.show(event.image, self._protocol)
            case events.Loaded() | events.StepStarted():
                self.pause()
            case _:
                pass

    def shows_previews(self, setting: str) -> bool | None:
        """Above the bar, where the terminal can show images."""
        if self._terminal is not None:
            self._protocol = image_protocol(self._terminal, setting)
        return True if self._protocol else None

    def overall(self, position: Overall | None) -> None:
        self._overall = position

    def pause(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar = self._task = None

    def _advance(
        self, key: str, text: str, done: int, total: int, position: str, unit: str = ""
    ) -> None:
        if self._bar is None:
            from dw.terminal.live_preview import make_bar  # rich, which the prompt starts without

            self._bar = make_bar(color=self._color, calmly=self._protocol is not None)
            self._bar.start()
            if (runs := self._overall) is not None:
                self._bar.add_task(
                    "runs",
                    total=runs.total,
                    completed=runs.done,
                    position=f"{runs.done}/{runs.total}",
                    rest="" if runs.rest_s is None else f"eta {minutes(runs.rest_s)}",
                )
        if self._task is None or self._task[0] != key:
            if self._task is not None:
                self._bar.remove_task(self._task[1])
            self._task = (key, self._bar.add_task("", total=total, position="", unit=unit))
        self._bar.update(
            self._task[1],
            description=truncated(without_controls(text), DESCRIPTION),
            completed=done,
            total=total,
            position=position,
        )

    def _write(self, stream: Stream, text: str, style: Style | None = None) -> None:
        if self._bar is None:
            super()._write(stream, text, style)
        else:
            self._bar.console.out(
                without_controls(text),
                style=STYLES[style] if style and self._color else None,
                highlight=False,
            )


# When its window shrinks, a terminal wraps a line that is too long, and the wrapped part cannot be
# erased. So the bar fits into a window of 72 cells.
DESCRIPTION = 24

STYLES: dict[Style, str] = {"error": "red", "warning": "yellow", "dim": "dim"}
