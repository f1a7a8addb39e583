"""The live region: the progress bar, and above it the preview of what is being denoised.

rich erases and draws the region again several times a second, so its images are drawn within its
lines: as half blocks; in kitty as cells of a special character, whose colour names an image that
was sent before; by iTerm2's protocol and as sixels over blank lines, from the last of them, since
only lines that exist cannot make the screen scroll.
"""

from __future__ import annotations

import io
import shutil
import struct
import sys
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.text import Text

from dw.terminal.table import minutes

if TYPE_CHECKING:
    from PIL.Image import Image

    from dw.terminal.image_protocol import ImageProtocol

# When its window shrinks, a terminal wraps a line that is too long, and the wrapped part cannot be
# erased. So the bar fits into a window of 72 cells, and a preview into one of 32.
BAR, MOST_COLUMNS, MOST_ROWS = 12, 32, 16
MOST_BAR, BESIDE_BAR = 60, 88
"""Cells. A part of a wide window stays free, so that one that shrinks a little wraps nothing."""

CELL = (8, 16)
"""Assumed size of a cell in pixels, where the terminal does not tell it."""

_KITTY_ID = 77
"""Of the image: a colour of 256, which all terminals keep as it is."""
_PLACEHOLDER = "\U0010eeee"
_MARKS = (
    "\u0305\u030d\u030e\u0310\u0312\u033d\u033e\u033f"
    "\u0346\u034a\u034b\u034c\u0350\u0351\u0352\u0357"
)
"""Of rows and columns 0 to 15, from kitty's rowcolumn-diacritics.txt."""


class Bar(Progress):
    """Disappears when it stops. `show` puts a preview above it."""

    _preview: Preview | None = None

    def show(self, png: str, protocol: ImageProtocol) -> None:
        """A PNG in base64, in the place of the one before. One that is none is left out: it may
        come from a server."""
        from PIL import Image  # most runs end before their first preview

        from dw.pixels import open_image

        try:
            with open_image(io.BytesIO(b64decode(png)), ("PNG",)) as image:
                pixels = image.convert("RGB")
        except (ValueError, OSError, Image.DecompressionBombError):
            return
        self._preview = Preview(pixels, protocol)

    def get_renderables(self) -> Iterable[RenderableType]:
        if self._preview is not None:
            yield self._preview
        yield from super().get_renderables()

    def stop(self) -> None:
        is_kitty = self._preview is not None and self._preview.protocol == "kitty"
        super().stop()
        if is_kitty:
            self.console.file.write(f"\033_Ga=d,d=I,i={_KITTY_ID},q=2\033\\")
            self.console.file.flush()
        self._preview = None


class Preview:
    """A renderable. Draws nothing where the window has no room for it."""

    def __init__(self, image: Image, protocol: ImageProtocol) -> None:
        self.image, self.protocol = image, protocol
        self._sent = False  # to kitty, which keeps it

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        columns, rows = self._size(console.size.height)
        if columns > options.max_width or rows < 2:
            return
        for line in self._lines(columns, rows):
            # As a control code, which rich passes on without measuring it.
            yield Segment(line, None, [(ControlType.CARRIAGE_RETURN,)])
            yield Segment.line()

    def _size(self, height: int) -> tuple[int, int]:
        """Its columns and rows, in a window of so many rows: at most half of them."""
        rows = min(MOST_ROWS, height // 2)
        scale = min(MOST_COLUMNS / self.image.width, 2 * rows / self.image.height)
        sides = (self.image.width * scale, self.image.height * scale / 2)
        return max(1, round(sides[0])), min(rows, max(1, round(sides[1])))

    def _lines(self, columns: int, rows: int) -> list[str]:
        from dw.terminal import images

        match self.protocol:
            case "blocks":
                return images.blocks(self.image.resize((columns, 2 * rows)), columns).splitlines()
            case "kitty":
                lines = list(_kitty_cells(columns, rows))
                if not self._sent:
                    keys = f"U=1,i={_KITTY_ID},r={rows},"
                    lines[0] = images.kitty(images.png(self.image), columns, keys) + lines[0]
                self._sent = True
                return lines
            case "iterm2":
                keys = f"height={rows};preserveAspectRatio=0;"
                drawn = images.iterm2(images.png(self.image), columns, keys)
            case _:  # sixel
                width, height = cell_size()
                drawn = images.sixel(self.image.resize((columns * width, rows * height)))
        return [*[""] * (rows - 1), f"\0337\033[{rows - 1}A\r{drawn}\0338"]


def _kitty_cells(columns: int, rows: int) -> Iterator[str]:
    """Lines of cells that show an image which was sent. The first cell of a line says where in the
    image it is, the others follow."""
    for mark in _MARKS[:rows]:
        first = f"{_PLACEHOLDER}{mark}{_MARKS[0]}"
        yield f"\033[38;5;{_KITTY_ID}m{first}{_PLACEHOLDER * (columns - 1)}\033[39m"


def cell_size() -> tuple[int, int]:
    """Width and height of a cell of the terminal in pixels."""
    with suppress(ImportError, OSError, ValueError):  # Windows lacks it
        import fcntl
        import termios

        answer = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, bytes(8))
        rows, columns, width, height = struct.unpack("HHHH", answer)
        if rows and columns and width >= columns and height >= rows:
            return width // columns, height // rows
    return CELL


def make_bar(*, color: bool, calmly: bool) -> Bar:
    """`calmly`: drawn less often, as previews take many bytes."""
    return Bar(
        TextColumn("  {task.description}", markup=False),
        _WideBar(),
        TextColumn("{task.fields[position]}", markup=False),
        _Rate(),
        console=Console(no_color=not color, file=cast(TextIO, _BarOutput(sys.stdout))),
        transient=True,
        refresh_per_second=4 if calmly else 10,
    )


class _WideBar(BarColumn):
    """As wide as the window has room for beside the texts."""

    def render(self, task: Task) -> ProgressBar:
        columns = shutil.get_terminal_size().columns
        self.bar_width = max(BAR, min(MOST_BAR, columns - BESIDE_BAR))
        return super().render(task)


class _Rate(ProgressColumn):
    """`4.2 it/s eta 0:06`; slow steps as `2.5 s/it`."""

    def render(self, task: Task) -> Text:
        if (rest := task.fields.get("rest")) is not None:
            return Text(rest)
        parts = []
        if task.speed:
            unit = task.fields.get("unit")
            if unit == "B":
                parts.append(f"{task.speed / 1e6:.0f} MB/s")
            elif unit == "it":
                slow = task.speed < 1
                parts.append(f"{1 / task.speed:.1f} s/it" if slow else f"{task.speed:.1f} it/s")
        if task.time_remaining is not None and not task.finished:
            parts.append(f"eta {minutes(task.time_remaining)}")
        return Text(" ".join(parts))


class _BarOutput:
    """For the bar, whose thread must not fail where the terminal is gone: the next line says so."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()
