"""Sweeps: one `run`, several values, a run for each and a sheet of all images."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.console.run_sweep import caption
from dw.events import Event, Failed, Finished, Run
from dw.types import OutputFile
from tests.repl.conftest import Shell
from tests.repl.fake import Answer, FakeClient, ending_with


def runs(shell: Shell) -> list[Run]:
    return [command for command in shell.client.commands if isinstance(command, Run)]


def swept(shell: Shell, line: str) -> list[Any]:
    """For each run that the line makes, its steps and its prompt, as far as they were set."""
    shell.say("load FluxDev", line)
    return [
        tuple(run.arguments[name] for name in ("steps", "prompt") if name in run.arguments)
        for run in runs(shell)
    ]


def drawing(folder: Path) -> Answer:
    """A run that leaves an image behind."""

    def answer(client: FakeClient, run: Run) -> Iterator[Event]:
        client.runs += 1
        own = folder / f"{client.runs:04}"
        own.mkdir(parents=True)
        path = own / "picture.png"
        Image.new("RGB", (64, 64), "red").save(path)
        output = OutputFile(str(path), "image/png", 100, "0" * 64, 64, 64)
        yield Finished(run.run_id, "FluxDev", 0.5, 42, (output,), client.memory(), str(own))

    return answer


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("run steps=2", [(2,)]),
        ("run steps=2,3", [(2,), (3,)]),
        ("run steps=2..4", [(2,), (3,), (4,)]),
        ("run steps=4..2", [(4,), (3,), (2,)]),
        ("run steps=2..3,9", [(2,), (3,), (9,)]),
        ("run steps=2 steps=5", [(2,), (5,)]),
        ('run prompt="a cat, sitting" steps=2', [(2, "a cat, sitting")]),
        ("run prompt=1..4 steps=2", [(2, "1..4")]),
        ("run prompt=cat prompt=dog steps=2", [(2, "cat"), (2, "dog")]),
        ("run steps=2,3 prompt=a prompt=b", [(2, "a"), (2, "b"), (3, "a"), (3, "b")]),
        ("run prompt=a prompt=b steps=2,3", [(2, "a"), (3, "a"), (2, "b"), (3, "b")]),
    ],
)
def test_a_sweep_is_a_run_for_each_value(shell: Shell, line: str, expected: list[Any]) -> None:
    assert swept(shell, line) == expected


def test_seeds_are_swept_too(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=1..3")
    assert [run.seed for run in runs(shell)] == [1, 2, 3]


def test_a_sweep_of_something_else_has_one_seed(shell: Shell) -> None:
    shell.say("load FluxDev", "run steps=1..3")
    assert {run.seed for run in runs(shell)} == {None}
    assert len({run.drawn_seed for run in runs(shell)}) == 1


def test_a_seed_that_is_given_is_that_of_all_runs(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=3 steps=20,30")
    assert [run.seed for run in runs(shell)] == [3, 3]


def test_seeds_that_are_random_differ(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=random,random")
    first, second = (run.seed for run in runs(shell))
    assert first != second


def test_a_seed_that_was_set_stays(shell: Shell) -> None:
    shell.say("load FluxDev", "arg seed=5", "run steps=1,2")
    assert [run.seed for run in runs(shell)] == [5, 5]


@pytest.mark.parametrize("line", ["run steps=1,x", "run steps=1,,2", "run stepz=1,2"])
def test_what_is_wrong_is_said_before_the_first_run(shell: Shell, line: str) -> None:
    text = shell.say("load FluxDev", line)
    assert "error: " in text
    assert runs(shell) == []


@pytest.mark.parametrize("line", ["run seed=1..100000", "run seed=1..100 steps=1..100"])
def test_a_sweep_of_too_many_runs_is_refused(shell: Shell, line: str) -> None:
    assert "a sweep has at most 1000 runs" in shell.say("load FluxDev", line)
    assert runs(shell) == []


def test_many_runs_are_listed_first(shell: Shell) -> None:
    text = shell.say("load FluxDev", "run seed=1..9")
    assert text.index("   9  seed=9") < text.index("Run 1 of 9: seed=1")
    assert "   1  seed=1" not in shell.say("run seed=1..8")


def test_a_sheet_is_saved_at_the_end(shell: Shell) -> None:
    folder = shell.folder / "outputs" / "FluxDev"
    shell.client.answers = [drawing(folder) for _ in range(3)]
    text = shell.say("load FluxDev", "run seed=1..3")
    assert text.splitlines()[-1] == "outputs/FluxDev/sheet-0001-0003.png"
    with Image.open(folder / "sheet-0001-0003.png") as sheet:
        assert sheet.width > 3 * 64


def test_one_run_makes_no_sheet(shell: Shell) -> None:
    folder = shell.folder / "outputs" / "FluxDev"
    shell.client.answers = [drawing(folder)]
    assert "sheet" not in shell.say("load FluxDev", "run seed=1")


def test_a_run_that_fails_ends_the_sweep_and_the_others_keep_their_sheet(shell: Shell) -> None:
    folder = shell.folder / "outputs" / "FluxDev"
    failing = ending_with(lambda run_id: Failed(run_id, "run", "no"))
    shell.client.answers = [drawing(folder), drawing(folder), failing, drawing(folder)]
    text = shell.say("load FluxDev", "run seed=1..4")
    assert len(runs(shell)) == 3
    assert text.index("sheet-0001-0002.png") < text.index("error: no")


def test_a_caption_begins_with_what_is_short() -> None:
    run = {"prompt": "a lighthouse on a cliff", "steps": 4}
    assert caption(run, ["prompt", "steps"]) == "steps=4, prompt=a lighthouse on a cliff"
