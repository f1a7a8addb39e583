from __future__ import annotations

import base64
import io
import re
from itertools import product
from pathlib import Path

import pytest
from PIL import Image

from dw.terminal import images
from dw.terminal.image_protocol import image_protocol
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream


@pytest.fixture
def image() -> Image.Image:
    """Its upper half is red, its lower half blue."""
    made = Image.new("RGB", (160, 160), "red")
    made.paste((0, 0, 255), (0, 80, 160, 160))
    return made


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"TERM": "dumb"}, None),
        ({"TERM": "xterm", "NO_COLOR": "1"}, None),
        ({"TERM": "xterm", "ACCESSIBLE": "1"}, None),
        ({"TERM": "xterm-256color"}, "blocks"),
        ({"TERM": "xterm-kitty"}, "kitty"),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, "kitty"),
        ({"TERM": "xterm-ghostty", "TERM_PROGRAM": "ghostty"}, "kitty"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, "iterm2"),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, "iterm2"),
        ({"TERM": "foot"}, "sixel"),
        ({"TERM": "tmux-256color", "KITTY_WINDOW_ID": "1"}, "blocks"),
        ({"TERM": "xterm-256color", "TMUX": "/tmp/x", "TERM_PROGRAM": "iTerm.app"}, "blocks"),
    ],
)
def test_the_environment_decides(environment: dict[str, str], expected: str | None) -> None:
    assert image_protocol(environment) == expected


def test_the_setting_is_stronger_than_the_environment() -> None:
    assert image_protocol({"TERM": "xterm-kitty"}, "off") is None
    assert image_protocol({"TERM": "xterm-kitty"}, "sixel") == "sixel"


def test_kitty_gets_the_png_in_chunks_and_does_not_answer(image: Image.Image) -> None:
    image = Image.effect_noise((300, 300), 90)
    text = images.render(image, "kitty", 80)
    chunks = re.findall(r"\033_G([^;]*);([^\033]*)\033\\", text)
    assert chunks[0][0].startswith("a=T,f=100,q=2,")
    assert [int(keys[-1]) for keys, _ in chunks] == [1] * (len(chunks) - 1) + [0]
    assert max(len(data) for _, data in chunks) <= 4096
    shown = Image.open(io.BytesIO(base64.b64decode("".join(data for _, data in chunks))))
    assert shown.tobytes() == image.tobytes()


def test_iterm2_gets_the_png(image: Image.Image) -> None:
    found = re.fullmatch(
        r"\033]1337;File=inline=1;size=(\d+);width=20:([^\a]*)\a\n",
        images.render(image, "iterm2", 80),
    )
    assert found is not None
    png = base64.b64decode(found[2])
    assert len(png) == int(found[1])
    assert Image.open(io.BytesIO(png)).size == (160, 160)


def test_sixels_are_the_image(image: Image.Image) -> None:
    decoded = decode_sixel(images.render(image, "sixel", 80))
    assert decoded.size == (160, 160)
    assert decoded.getpixel((5, 5)) == (255, 0, 0)
    assert decoded.getpixel((150, 150)) == (0, 0, 255)


def decode_sixel(text: str) -> Image.Image:
    """As a terminal does it, after the DEC VT330/VT340 manual, chapter 14."""
    found = re.fullmatch(r'\033Pq"1;1;(\d+);(\d+)(.*)\033\\\n', text, re.DOTALL)
    assert found is not None
    image = Image.new("RGB", (int(found[1]), int(found[2])))
    palette: dict[str, tuple[int, ...]] = {}
    x = y = 0
    colour = "0"
    tokens = r"#(\d+);2;(\d+);(\d+);(\d+)|#(\d+)|!(\d+)([?-~])|([?-~])|([$-])"
    for index, r, g, b, use, count, packed, single, move in re.findall(tokens, found[3]):
        if index:
            palette[index] = tuple(round(int(share) * 255 / 100) for share in (r, g, b))
        elif use:
            colour = use
        elif move:
            x, y = 0, y + (6 if move == "-" else 0)
        else:
            bits = ord(packed or single) - 63
            width = int(count or 1)
            for column, row in product(range(x, x + width), range(6)):
                if bits >> row & 1 and y + row < image.height:
                    image.putpixel((column, y + row), palette[colour])
            x += width
    return image


def test_blocks_have_two_pixels_each(image: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    lines = images.render(image, "blocks", 80).splitlines()
    assert [line.count("▀") for line in lines] == [20] * 10
    assert "38;2;255;0;0;48;2;255;0;0" in lines[0]
    assert "38;2;0;0;255;48;2;0;0;255" in lines[-1]


@pytest.mark.parametrize(("terminal", "is_shown"), [({"TERM": "xterm"}, True), (None, False)])
def test_an_image_is_shown_at_a_terminal_only(
    image: Image.Image, tmp_path: Path, terminal: dict[str, str] | None, is_shown: bool
) -> None:
    image.save(tmp_path / "image.png")
    out = io.StringIO()
    renderer = PlainRenderer(Stream(out), Stream(out), terminal=terminal)
    renderer.image(tmp_path / "image.png", "auto")
    assert ("▀" in out.getvalue()) is is_shown
