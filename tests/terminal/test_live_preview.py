"""Previews above the progress bar."""

from __future__ import annotations

import io
import re
from base64 import b64encode

import pytest
from PIL import Image
from rich.console import Console

from dw.events import Preview as PreviewEvent
from dw.events import RunCancelled, Stepped
from dw.settings import PREVIEW_S, Settings
from dw.terminal.image_protocol import ImageProtocol
from dw.terminal.live import LiveRenderer
from dw.terminal.live_preview import Preview, make_bar
from dw.terminal.ndjson import JsonRenderer
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream


def drawn(
    protocol: ImageProtocol, size: tuple[int, int] = (64, 48), *, width: int = 80, height: int = 24
) -> list[str]:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=width, height=height)
    console.print(Preview(Image.new("RGB", size, (0, 120, 0)), protocol), end="")
    return file.getvalue().split("\n")[:-1]


def test_it_takes_at_most_half_of_the_rows() -> None:
    lines = [re.sub(r"\033\[[\d;]*m", "", line) for line in drawn("blocks")]
    assert lines == ["▀" * 32] * 12
    assert len(drawn("blocks", (32, 64))) == 12, "as wide as its sides want it"
    assert len(drawn("blocks", (64, 64), height=80)) == 16


@pytest.mark.parametrize("window", [{"width": 31}, {"height": 3}])
def test_a_window_that_is_too_small_has_none(window: dict[str, int]) -> None:
    assert drawn("blocks", **window) == []


@pytest.mark.parametrize(
    ("protocol", "begins"),
    [("iterm2", "\033]1337;File=inline=1;"), ("sixel", '\033Pq"1;1;256;192')],
)
def test_an_image_is_drawn_from_the_last_of_its_lines(protocol: ImageProtocol, begins: str) -> None:
    *blank, last = drawn(protocol)
    assert blank == [""] * 11
    assert last.startswith(f"\0337\033[11A\r{begins}")
    assert last.endswith("\0338")


@pytest.mark.parametrize("png", ["", "no base64", b64encode(b"no PNG").decode()])
def test_what_is_no_image_is_left_out(png: str) -> None:
    bar = make_bar(color=False, calmly=True)
    bar.show(png, "blocks")
    assert len(list(bar.get_renderables())) == 1, "the bar alone"


def test_a_preview_without_a_bar_draws_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    renderer = LiveRenderer(Stream(io.StringIO()), terminal={"TERM": "xterm"})
    assert renderer.shows_previews("auto")
    for event in [PreviewEvent(1, "gen", 1, 4), Stepped(1, "gen", "denoise", 1, 4)]:
        renderer.event(event, [])
    renderer.event(RunCancelled(1, 1, 4), [])
    assert "▀" not in capsys.readouterr().out


def test_they_are_asked_for_where_somebody_sees_them() -> None:
    stream = Stream(io.StringIO())
    live = LiveRenderer(stream, terminal={"TERM": "xterm"})
    found = {
        (name, setting): Settings(previews=setting).preview_s(shows=shows)
        for name, shows in {
            "live": live.shows_previews("auto"),
            "no images": live.shows_previews("off"),
            "dumb": LiveRenderer(stream, terminal={"TERM": "dumb"}).shows_previews("auto"),
            "json": JsonRenderer(stream, stream).shows_previews("auto"),
            "plain": PlainRenderer(stream, stream).shows_previews("auto"),
        }.items()
        for setting in ("auto", "on", "off", "0.25")
    }
    assert {key: seconds for key, seconds in found.items() if seconds is not None} == {
        ("live", "auto"): PREVIEW_S,
        ("live", "on"): PREVIEW_S,
        ("live", "0.25"): 0.25,
        ("json", "on"): PREVIEW_S,
        ("json", "0.25"): 0.25,
    }
