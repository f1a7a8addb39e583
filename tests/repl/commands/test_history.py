"""`history` and `show`, on records that nobody had to run for."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from dw import run_record
from dw.repl.commands.history import LISTED
from dw.repl.completion import complete
from dw.terminal.ndjson import JsonRenderer
from dw.terminal.renderer import Stream
from tests.repl.conftest import Shell

GOOD: dict[str, Any] = {
    "workflow": "sd15",
    "path": "examples/sd15.json",
    "resolved_arguments": {"prompt": "a red fox", "steps": 25},
    "seed": 7,
    "device": "CPU",
    "rehearse": True,
    "started": "2026-03-01T10:00:00.000+00:00",
    "versions": {"dw": "0.1.0", "torch": "2.13"},
    "state": "finished",
    "cause": None,
    "ended": "2026-03-01T10:00:02.500+00:00",
    "steps": [{"name": "draw", "seed": 7}],
    "timings_s": {"plan": 0.01, "load": 1.5, "execute": 0.9},
    "outputs": [{"path": "sd15-draw.0-0.0.png"}, {"path": "sd15-draw.0-0.1.png"}],
}
DEAD = {
    "workflow": "wan",
    "started": "2026-03-02T10:00:00.000+00:00",
    "ended": "2026-03-02T10:01:00.000+00:00",
    "state": "died",
    "cause": "killed by signal 9 (SIGKILL)",
    "last_step": "gen: denoise step 2/4",
    "outputs": [],
}


@pytest.fixture(autouse=True)
def past(folder: Path) -> None:
    keep(folder, "sd15/0001", GOOD)
    keep(folder, "wan/0002", GOOD | DEAD)


def keep(folder: Path, name: str, facts: dict[str, Any]) -> None:
    (folder / "outputs" / name).mkdir(parents=True)
    run_record.write(folder / "outputs" / name, facts)


def rows(text: str) -> list[list[str]]:
    return [re.split("  +", line.strip()) for line in text.splitlines()]


def test_the_newest_run_comes_last(shell: Shell) -> None:
    header, good, dead = rows(shell.say("history"))
    assert header == ["N", "started", "workflow", "state", "seconds", "what"]
    assert [*dead[:1], *dead[2:]] == [
        *("0002", "wan", "died", "60.0"),
        "killed by signal 9 (SIGKILL), a red fox",
    ]
    assert [*good[:1], *good[2:]] == ["0001", "sd15", "finished", "2.5", "a red fox, seed=7"]


def test_a_run_is_told_by_what_the_run_before_had_otherwise(shell: Shell) -> None:
    other = {"started": "2026-03-04T10:00:00+00:00", "path": "examples/sd15.json", "seed": 8}
    arguments = {"prompt": "a red fox", "steps": 30}
    keep(shell.folder, "sd15/0003", GOOD | other | {"resolved_arguments": arguments})
    other["started"] = "2026-03-05T10:00:00+00:00"
    keep(shell.folder, "sd15/0004", GOOD | other | {"resolved_arguments": arguments})
    *_, third, fourth = rows(shell.say("history"))
    assert (third[-1], fourth[-1]) == ("a red fox, steps=30, seed=8", "a red fox")


def test_what_was_searched_for_is_shown_with_what_is_around_it(shell: Shell) -> None:
    prompt = f"{'on and on ' * 20}a Fox in the snow{' and so on' * 20}"
    later = {"started": "2026-03-04T10:00:00+00:00", "resolved_arguments": {"prompt": prompt}}
    keep(shell.folder, "sd15/0003", GOOD | later)
    [_, found] = rows(shell.say('history "fox IN"'))
    assert found[-1].startswith("… and on on and on a Fox in the snow and so on …")


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("died", ["0002"]),
        ("FOX", ["0001", "0002"]),
        ("fox finished", ["0001"]),
        ("sd15/0001", ["0001"]),
        ('"red fox" SIGKILL', ["0002"]),
    ],
)
def test_words_choose_among_the_runs(shell: Shell, words: str, found: list[str]) -> None:
    assert [row[0] for row in rows(shell.say(f"history {words}"))[1:]] == found


def test_where_there_is_none_it_says_so(shell: Shell) -> None:
    assert shell.say("history dog").splitlines()[-1] == "No such run below outputs"
    shell.say("config output_dir=elsewhere")
    assert shell.say("history").splitlines()[-1] == "No such run below elsewhere"


def test_of_many_the_newest_are_shown(shell: Shell) -> None:
    for number in range(3, LISTED + 3):
        keep(shell.folder, f"sd15/{number:04d}", GOOD)
    *shown, last = rows(shell.say("history"))[1:]
    assert len(shown) == LISTED
    assert last == [f"The newest {LISTED} of {LISTED + 2}; history --all shows all of them"]
    assert len(rows(shell.say("history --all"))[1:]) == LISTED + 2


def test_a_run_is_shown_whole(shell: Shell) -> None:
    shown = dict(rows(shell.say("show 1"))[1:])
    assert shown.pop("started").startswith("2026-03-01 ")
    assert shown == {
        "run": "0001, outputs/sd15/0001",
        "state": "finished",
        "seconds": "2.5",
        "seconds to load": "1.5",
        "seconds to execute": "0.9",
        "workflow": "examples/sd15.json",
        "arg prompt": "a red fox",
        "arg steps": "25",
        "seed": "7",
        "seed of draw": "7",
        "device": "CPU",
        "rehearse": "on",
        "file": "outputs/sd15/0001/sd15-draw.0-0.1.png",
        "versions": "dw 0.1.0, torch 2.13",
    }


def test_without_a_number_it_is_the_last_one(shell: Shell) -> None:
    shown = dict(rows(shell.say("show"))[1:])
    assert shown["state"] == "died"
    assert shown["cause"] == "killed by signal 9 (SIGKILL)"
    assert shown["last step"] == "gen: denoise step 2/4"
    assert "file" not in shown


@pytest.mark.parametrize("number", ["0", "3", "fox", "²", "sd15/0002", "examples/sd15.json"])
def test_what_is_no_run_is_refused(shell: Shell, number: str) -> None:
    assert shell.code(f"show {number}") == 2
    assert shell.shown().splitlines() == [
        f"error: there is no run {number!r} below outputs",
        "  history   lists the runs",
    ]


@pytest.mark.parametrize(
    "word", ["1", "0001", "sd15/0001", "outputs/sd15/0001", "outputs/sd15/0001/run.json"]
)
def test_a_run_has_one_number_and_its_folder_s_path(shell: Shell, word: str) -> None:
    assert rows(shell.say(f"show {word}"))[1] == ["run", "0001, outputs/sd15/0001"]


def test_the_number_stays_when_another_run_is_deleted(shell: Shell) -> None:
    shutil.rmtree(shell.folder / "outputs/sd15/0001")
    assert rows(shell.say("show 2"))[1] == ["run", "0002, outputs/wan/0002"]
    assert [row[0] for row in rows(shell.say("history"))] == ["N", "0002"]


def test_of_two_runs_with_one_number_from_before_one_is_named(shell: Shell) -> None:
    keep(shell.folder, "wan/0001", GOOD)
    assert shell.say("show 1").splitlines() == [
        "error: run 1 could be sd15/0001 or wan/0001",
        "  sd15/0001   names one",
    ]
    assert rows(shell.say("show wan/0001"))[1] == ["run", "0001, outputs/wan/0001"]


def test_before_the_first_run_there_is_none_to_show(shell: Shell) -> None:
    shell.say("config output_dir=elsewhere")
    assert shell.say("show") == "error: no run found below elsewhere\n  run\n"


@pytest.mark.parametrize("damage", ["{", '{"state": "running"}', "[]"])
def test_a_damaged_record_is_shown_as_it_is(shell: Shell, damage: str) -> None:
    (shell.folder / "outputs/wan/0002/run.json").write_text(damage)
    state = "running" if "running" in damage else "unreadable"
    assert state in shell.say("history wan")
    assert state in shell.say("show 2")


def test_numbers_are_offered_with_what_they_stand_for(shell: Shell) -> None:
    assert [(c.text, c.meta) for c in complete(shell.session, "show ")[1]] == [
        ("0002", "wan/0002, died"),
        ("0001", "sd15/0001, finished"),
    ]
    assert [c.text for c in complete(shell.session, "show 0001")[1]] == ["0001"]


def test_a_machine_reads_the_rows_as_objects(shell: Shell) -> None:
    out = io.StringIO()
    shell.session.renderer = JsonRenderer(Stream(out), Stream(io.StringIO()))
    for line in ("history died", "history dog", "show 2"):
        shell.session.attempt(line)
    found, none, shown = (json.loads(line)["rows"] for line in out.getvalue().splitlines())
    assert [(row["N"], row["state"]) for row in found] == [("0002", "died")]
    assert none == []
    assert {"what": "state", "is": "died"} in shown


def test_a_script_gets_a_column_for_each_fact(scripted: Shell) -> None:
    scripted.session.attempt("history died")
    header, row = scripted.out.getvalue().splitlines()
    assert len(header.split("\t")) == len(row.split("\t")) == 6


def test_a_long_cause_is_cut_in_the_list_and_whole_in_show(shell: Shell) -> None:
    cause = "step 'gen': " + "the width is odd " * 20
    keep(shell.folder, "wan/0003", GOOD | DEAD | {"cause": cause, "started": "2026-03-03T10:00Z"})
    shell.session.renderer._out._stream = out = Narrow()
    shell.session.attempt("history died")
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) == 80
    assert lines[2].endswith("...")
    shell.session.attempt("show 3")
    assert "".join(cause.split()) in "".join(out.getvalue().split())


class Narrow(io.StringIO):
    """A terminal, as far as its width goes."""

    def fileno(self) -> int:
        return 0


@pytest.fixture(autouse=True)
def columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "get_terminal_size", lambda _: os.terminal_size((80, 24)))


@pytest.mark.parametrize(
    "odd", ["", "null", '{"state": "died", "outputs": 5}', '{"state": "failed", "timings_s": [1]}']
)
def test_an_odd_record_is_named_and_the_others_are_listed(shell: Shell, odd: str) -> None:
    (shell.folder / "outputs/wan/0002/run.json").write_text(odd)
    shown = shell.say("history")
    assert shell.session.attempt("history") == 0
    assert "sd15" in shown
    assert re.search(r"wan +unreadable +.*(run\.json|record|value)", shown)
    number = next(row[0] for row in rows(shown) if "unreadable" in row)
    assert "run.json: " in shell.say(f"show {number}")
