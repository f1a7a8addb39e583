from __future__ import annotations

import io
import json
import re
from types import SimpleNamespace

import pytest

from dw.errors import (
    RaiseStall,
    RunFailed,
    SetOutputDir,
    ShowMemory,
    UsageError,
    WorkflowError,
)
from dw.events import (
    Event,
    Failed,
    Loaded,
    Loading,
    LogLine,
    NotFinite,
    RunCancelled,
    Stepped,
    StepStarted,
    Warned,
)
from dw.terminal.live import LiveRenderer
from dw.terminal.live_preview import _Rate
from dw.terminal.messages import kept_line
from dw.terminal.ndjson import JsonRenderer
from dw.terminal.plain import PlainRenderer
from dw.terminal.remedies import PROGRAM, PROGRAM_WITH_TRACEBACKS, SHELL, Wording
from dw.terminal.renderer import OutputClosed, Overall, Stream, error_lines
from dw.types import Spoiled
from dw.workflow import Diagnostic


@pytest.mark.parametrize(
    ("kept", "loading", "dropped", "line"),
    [
        (["a.vae", "a.unet"], ["a.scheduler"], ["a.scheduler"],
         "Kept 2 of 3 components (vae, unet); reloading: scheduler"),
        (["a.vae"], [], [], "Kept 1 of 1 components (vae); nothing to reload"),
        ([], ["a.vae"], ["b.vae"], "Kept 0 of 1 components; reloading: a.vae; dropped: b.vae"),
        (["a.vae", "b.vae", "b.unet"], [], [],
         "Kept 3 of 3 components (a.vae, b.vae, unet); nothing to reload"),
    ],
)  # fmt: skip
def test_the_line_on_what_is_kept(
    kept: list[str], loading: list[str], dropped: list[str], line: str
) -> None:
    assert kept_line(kept, loading, dropped) == line


def steps(*done: int, name: str = "gen", total: int = 8) -> list[Event]:
    return [Stepped(1, name, "denoise", each, total) for each in done]


def plain(events: list[Event], **options: bool) -> list[str]:
    out = io.StringIO()
    renderer = PlainRenderer(Stream(out), Stream(out), **options)
    for event in events:
        renderer.event(event, [])
    return out.getvalue().splitlines()


def test_plain_progress_is_a_line_for_each_quarter() -> None:
    assert plain(steps(*range(1, 9))) == [
        f"  gen: denoise {done}/8 ({percent} %)"
        for done, percent in [(2, 25), (4, 50), (6, 75), (8, 100)]
    ]


def test_each_call_of_a_pipeline_begins_anew() -> None:
    assert len(plain(steps(8, 8))) == 2
    assert len(plain(steps(8) + steps(8, name="up"))) == 2


def test_a_phase_without_units_is_silent() -> None:
    assert plain(steps(0, total=0)) == []


def test_quiet_keeps_only_warnings() -> None:
    events = [StepStarted(1, "gen", 1, 2), *steps(8), LogLine(1, "noise"), Warned(1, "odd")]
    assert plain(events, quiet=True) == ["warning: odd"]
    assert plain(events)[-2:] == ["  | noise", "warning: odd"]


def test_colour_never_carries_the_meaning_alone() -> None:
    assert plain([Warned(1, "odd")], color=True) == ["\033[33mwarning: odd\033[0m"]


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            UsageError("no such thing", hints=["help", "load"]),
            ["error: no such thing", "  help; load"],
        ),
        (RunFailed("width 63", where="step 'gen'"), ["error: step 'gen': width 63"]),
        (
            WorkflowError("x", problems=[Diagnostic("a", 1, 2, "x")], where="a:1:2"),
            ["error: a:1:2: x"],
        ),
        (
            WorkflowError(
                "2 problems", problems=[Diagnostic("a", 1, 2, "x"), Diagnostic("a", 3, 4, "y")]
            ),
            ["error: 2 problems", "a:1:2: error: x", "a:3:4: error: y"],
        ),
    ],
)
def test_an_error_is_a_few_lines(error: UsageError, lines: list[str]) -> None:
    assert error_lines(error, SHELL) == lines


def test_an_error_in_a_script_has_its_position_and_its_trace() -> None:
    lines = error_lines(RunFailed("width 63"), SHELL, position="a.dw:3", trace=4)
    assert lines == ["a.dw:3: error: width 63", "full trace: trace 4"]


@pytest.mark.parametrize(
    ("wording", "rest"),
    [
        (SHELL, ["  config stall=SECONDS   waits longer", "full trace: trace 4"]),
        (PROGRAM, ["  DW_STALL=SECONDS   waits longer", "full trace: --traceback"]),
        (PROGRAM_WITH_TRACEBACKS, ["  DW_STALL=SECONDS   waits longer"]),
    ],
)
def test_each_program_names_what_to_do_by_its_own_commands(
    wording: Wording, rest: list[str]
) -> None:
    error = RunFailed("no progress", hints=[RaiseStall()])
    assert error_lines(error, wording, trace=4)[1:] == rest


def test_a_remedy_that_a_program_does_not_have_is_left_out() -> None:
    assert error_lines(RunFailed("full", hints=[ShowMemory()]), PROGRAM) == ["error: full"]


def test_json_has_hints_as_texts() -> None:
    out = io.StringIO()
    renderer = JsonRenderer(Stream(out), Stream(io.StringIO()))
    renderer.event(Failed(1, "run", "no", hints=("a fact", SetOutputDir())), [])
    renderer.error(RunFailed("no", hints=["a fact", SetOutputDir()]))
    expected = ["a fact", "config output_dir=... writes elsewhere"]
    assert [json.loads(line)["hints"] for line in out.getvalue().splitlines()] == [expected] * 2


def test_a_reader_that_left_is_not_an_error_of_ours() -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    for stream in (Gone(), None):
        with pytest.raises(OutputClosed):
            Stream(stream).line("x")


def test_a_name_of_any_bytes_can_be_shown() -> None:
    raw = io.BytesIO()
    text = io.TextIOWrapper(raw, encoding="utf-8")
    Stream(text).line("out/\udcff.png")
    assert raw.getvalue() == b"out/\\udcff.png\n"


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b2J", "\r", "\x07", "\x7f"])
def test_control_characters_are_shown_and_not_sent(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    shown = f"\\u{ord(text[0]):04x}{text[1:]}"
    assert plain([Warned(1, text)]) == [f"warning: {shown}"]
    out = io.StringIO()
    json_out = JsonRenderer(Stream(out), Stream(out))
    json_out.result(text)
    assert json.loads(out.getvalue())["text"] == text
    live = LiveRenderer(Stream(out), color=False)
    for event in [*steps(1, name=text), Warned(1, text), RunCancelled(1, 2, 8)]:
        live.event(event, [])
    assert capsys.readouterr().out.rstrip() == f"warning: {shown}"


@pytest.mark.parametrize(("columns", "bar", "most"), [(80, 12, 72), (130, 42, 102), (200, 60, 120)])
def test_the_bar_grows_with_the_window_and_leaves_room_for_one_that_shrinks(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    columns: int,
    bar: int,
    most: int,
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(columns))
    renderer = LiveRenderer(Stream(io.StringIO()), color=True)
    for event in steps(10, name="a step with a long name, as they come", total=50):
        renderer.event(event, [])
    renderer.pause()
    drawn = re.sub(r"\x1b\[[\d;?]*\w", "", capsys.readouterr().out)
    assert "a step with a long na..." in drawn
    assert max(map(len, re.split(r"[\r\n]", drawn))) <= most
    assert max(map(len, re.findall(r"[━╺╸]+", drawn))) == bar


def test_a_sweep_has_a_bar_for_all_its_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    renderer = LiveRenderer(Stream(io.StringIO()), color=True)
    renderer.overall(Overall(3, 18, 40.2))
    for event in steps(10, total=50):
        renderer.event(event, [])
    renderer.pause()
    drawn = re.sub(r"\x1b\[[\d;?]*\w", "", capsys.readouterr().out)
    assert re.search(r"runs\s+[━╺╸]+\s+3/18\s+eta 0:40", drawn)


def test_slow_steps_have_seconds_and_bytes_their_own_speed() -> None:
    def rate(speed: float, unit: str, rest: float | None = None) -> str:
        task = SimpleNamespace(
            speed=speed, fields={"unit": unit}, time_remaining=rest, finished=False
        )
        return _Rate().render(task).plain  # type: ignore[arg-type]

    assert rate(0.4, "it") == "2.5 s/it"
    assert rate(250e6, "B", 3725) == "250 MB/s eta 1:02:05"


def test_the_bar_goes_away_with_the_last_event(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    renderer = LiveRenderer(Stream(out), color=False)
    for event in [Loading(1, "gen.vae", "AutoencoderKL", 1, 2), *steps(1, 2), Warned(1, "odd")]:
        renderer.event(event, [])
    renderer.event(Loaded(1, "x", 1.0), ["Models loaded for workflow: x"])
    renderer.event(RunCancelled(1, 2, 8), ["the end"])
    assert capsys.readouterr().out.rstrip() == "warning: odd\nModels loaded for workflow: x"
    assert out.getvalue() == "the end\n"


def test_a_value_that_is_not_finite_is_a_warning_where_it_is_allowed() -> None:
    value = Spoiled("the latents", "unet", 3, 20, (2, 4), 4)
    allowed, refused = (NotFinite(1, "gen", value, is_allowed=each) for each in (True, False))
    told = "NaN or infinity in the latents, denoising step 3 of 20, number 2, 4 of 4"
    out = io.StringIO()
    live = LiveRenderer(Stream(out), color=False)
    for event in (allowed, refused):  # of the second the error tells
        live.event(event, [])
    assert plain([allowed, refused]) == out.getvalue().splitlines()
    assert plain([allowed, refused]) == [f"warning: step 'gen': {told}"]


def test_a_value_that_is_not_finite_is_a_line_of_json() -> None:
    out = io.StringIO()
    value = Spoiled("the output of 'vae'", "vae")
    JsonRenderer(Stream(out), Stream(out)).event(NotFinite(1, "gen", value, is_allowed=False), [])
    line = json.loads(out.getvalue())
    assert (line["event"], line["name"], line["is_allowed"]) == ("NotFinite", "gen", False)
    assert line["value"]["what"] == "the output of 'vae'"
