"""Images in a terminal: by the protocol that its name promises, or as coloured half blocks."""

from __future__ import annotations

import io
import re
from base64 import standard_b64encode
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from rich.color import Color
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style

from dw.pixels import allowing, eight_bits, open_image
from dw.terminal.image_protocol import ImageProtocol

_MOST_COLUMNS, _MOST_ROWS = 80, 60
_CELL = 8
"""Assumed width of a terminal's cell in pixels; it gives a sixel image its size."""
_KITTY_CHUNK = 4096
"""Bytes of one kitty command at most, by kitty's specification."""


def render_file(path: Path, protocol: ImageProtocol, columns: int, rows: int) -> str:
    """The image in a file as `render` makes it."""
    with allowing(), open_image(path) as image:
        return render(eight_bits(image), protocol, columns, rows)


def render(
    image: Image.Image, protocol: ImageProtocol, columns: int, rows: int = _MOST_ROWS
) -> str:
    """The escape sequences that show an image, at most `columns` cells wide and `rows` high, and a
    newline. A cell is taken to be twice as high as wide."""
    columns = min(columns, _MOST_COLUMNS, max(1, image.width // _CELL))
    columns = max(1, min(columns, 2 * rows * image.width // image.height))
    match protocol:
        case "kitty":
            return kitty(png(image), columns) + "\n"
        case "iterm2":
            return iterm2(png(image), columns) + "\n"
        case "sixel":
            height = max(1, round(image.height * columns * _CELL / image.width))
            return sixel(image.convert("RGB").resize((columns * _CELL, height))) + "\n"
        case "blocks":
            return blocks(image.convert("RGB"), columns)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def kitty(data: bytes, columns: int, more: str = "") -> str:
    """A PNG. `q=2`: the terminal does not answer. `more`: keys of the command, each with a
    comma."""
    text = standard_b64encode(data).decode()
    chunks = [text[at : at + _KITTY_CHUNK] for at in range(0, len(text), _KITTY_CHUNK)]
    commands = [f"m={int(chunk is not chunks[-1])};{chunk}" for chunk in chunks]
    commands[0] = f"a=T,f=100,q=2,{more}c={columns},{commands[0]}"
    return "".join(f"\033_G{command}\033\\" for command in commands)


def iterm2(data: bytes, columns: int, more: str = "") -> str:
    """A PNG. `more`: further keys, each with a semicolon."""
    text = standard_b64encode(data).decode()
    return f"\033]1337;File=inline=1;size={len(data)};{more}width={columns}:{text}\a"


def sixel(image: Image.Image) -> str:
    """Bands of six rows; in each, for each colour, a character whose bits are the six pixels."""
    paletted = image.quantize(255)
    palette = paletted.getpalette() or []
    shares = [round(value * 100 / 255) for value in palette]
    colours = "".join(
        f"#{index};2;{';'.join(map(str, shares[3 * index : 3 * index + 3]))}"
        for index in range(len(shares) // 3)
    )
    pixels, width = paletted.tobytes(), paletted.width
    bands = (pixels[at : at + 6 * width] for at in range(0, len(pixels), 6 * width))
    body = "".join(f"{'$'.join(_sixel_band(band, width))}-" for band in bands)
    return f'\033Pq"1;1;{width};{paletted.height}{colours}{body}\033\\'


def _sixel_band(band: bytes, width: int) -> Iterator[str]:
    rows = [band[at : at + width] for at in range(0, len(band), width)]
    for colour in sorted(set(band)):
        bits = (sum((row[x] == colour) << y for y, row in enumerate(rows)) for x in range(width))
        characters = "".join(chr(63 + each) for each in bits)
        # A run of one character is `!N` and the character.
        yield f"#{colour}" + re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", characters)


def blocks(image: Image.Image, columns: int) -> str:
    """Half blocks: the foreground of a cell is its upper pixel, the background its lower one.

    rich reads the number of colours from the environment.
    """
    height = max(2, round(image.height * columns / image.width / 2) * 2)
    pixels = image.resize((columns, height), Image.Resampling.BOX).tobytes()
    colours = [Color.from_rgb(*pixels[at : at + 3]) for at in range(0, len(pixels), 3)]
    segments = []
    for top in range(0, len(colours), 2 * columns):
        upper, lower = colours[top : top + columns], colours[top + columns : top + 2 * columns]
        for foreground, background in zip(upper, lower, strict=True):
            segments.append(Segment("▀", Style(color=foreground, bgcolor=background)))
        segments.append(Segment.line())
    console = Console(file=io.StringIO(), force_terminal=True, width=columns)
    with console.capture() as capture:
        console.print(Segments(segments), end="")
    return capture.get()
