"""Sweeps: one `run`, several values, a run for each and a sheet of all images."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from dw.console.sweep_record import RECORD
from dw.errors import UsageError
from dw.events import Event, Failed, Finished, Run
from dw.jobs.captions import caption
from dw.repl.commands.run import run_missing
from dw.repl.session import Session
from dw.settings import Settings
from dw.types import OutputFile
from tests.repl.conftest import FLUX, Shell
from tests.repl.fake import Answer, FakeClient, ending_with, succeed


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
        ("run steps=2..6..2", [(2,), (4,), (6,)]),
        ("run steps=6..2..3", [(6,), (3,)]),
        ("run prompt=cat prompt=dog steps=2", [(2, "cat"), (2, "dog")]),
        ("run steps=2,3 prompt=a prompt=b", [(2, "a"), (2, "b"), (3, "a"), (3, "b")]),
        ("run prompt=a prompt=b steps=2,3", [(2, "a"), (3, "a"), (2, "b"), (3, "b")]),
    ],
)
def test_a_sweep_is_a_run_for_each_value(shell: Shell, line: str, expected: list[Any]) -> None:
    assert swept(shell, line) == expected


def test_fractions_are_swept_without_an_error_of_rounding(shell: Shell) -> None:
    shell.edit(variables=FLUX["variables"] | {"cfg": 2.5})
    shell.say("load FluxDev", "run cfg=1.5..3.5", "run cfg=0.1..0.4..0.1")
    assert [run.arguments["cfg"] for run in runs(shell)] == [1.5, 2.5, 3.5, 0.1, 0.2, 0.3, 0.4]


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


@pytest.mark.parametrize(
    "line", ["run steps=1,x", "run steps=1..4..0", "run steps=1,,2", "run stepz=1,2"]
)
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
    assert text.index("   9  seed=9") < text.index("1/9  outputs")
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


def test_a_run_that_fails_does_not_end_the_sweep_which_says_so(shell: Shell) -> None:
    folder = shell.folder / "outputs" / "FluxDev"
    failing = ending_with(lambda run_id: Failed(run_id, "run", "no"))
    shell.client.answers = [drawing(folder), drawing(folder), failing, drawing(folder)]
    shell.say("load FluxDev")
    assert shell.code("run seed=1..4") == 1
    text = shell.shown()
    assert len(runs(shell)) == 4
    assert "3/4 seed=3: error: no" in text
    assert "sheet-0001-0003.png" in text
    assert text.splitlines()[-1] == (
        "warning: 3 of 4 runs are done; failed: 3; rerun --missing does the rest"
    )


def test_each_run_is_one_line(shell: Shell) -> None:
    folder = shell.folder / "outputs" / "FluxDev"
    shell.client.answers = [drawing(folder) for _ in range(2)]
    lines = shell.say("load FluxDev", "run steps=4,8").splitlines()
    assert lines[-3:-1] == [
        "1/2  0001  0.5 s  seed 42  steps=4",
        "2/2  0002  0.5 s  seed 42  steps=8",
    ]


def test_in_a_script_the_paths_are_the_results(scripted: Shell) -> None:
    scripted.say("load FluxDev")
    scripted.code("run steps=4,8")
    assert scripted.shown().splitlines() == ["outputs/1.png", "outputs/2.png"]
    assert "1/2  outputs" in scripted.err.getvalue()


def test_what_is_missing_is_run_by_another_session(shell: Shell) -> None:
    failing = ending_with(lambda run_id: Failed(run_id, "run", "no"))
    shell.client.answers = [succeed, failing, succeed, failing]
    shell.say("load FluxDev", "arg prompt=fox", "run steps=1..4")
    first = runs(shell)
    shell.edit(description="changed meanwhile")
    client = FakeClient()
    other = Session(client, shell.session.renderer, Settings())
    run_missing(other, None)
    again = [command for command in client.commands if isinstance(command, Run)]
    assert [run.arguments for run in again] == [first[1].arguments, first[3].arguments]
    assert {run.drawn_seed for run in again} == {first[0].drawn_seed}
    assert {run.text for run in again} == {first[0].text}
    run_missing(other, None)
    assert "Nothing is missing: all 4 runs are done" in shell.shown()


def test_a_record_that_a_crash_cut_names_what_is_whole(shell: Shell) -> None:
    shell.say("load FluxDev", "run steps=1..3")
    record = shell.folder / "outputs" / RECORD
    record.write_bytes(record.read_bytes()[:-5])
    run_missing(shell.session, None)
    assert [run.arguments["steps"] for run in runs(shell)[3:]] == [3]


def test_a_secret_of_a_sweep_is_not_written_and_read_again(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHO", "a striped zebra")
    shell.client.answers = [ending_with(lambda run_id: Failed(run_id, "run", "no"))]
    shell.say("load FluxDev", "run prompt=${env.WHO} steps=1,2")
    record = shell.folder / "outputs" / RECORD
    assert "zebra" not in record.read_text()
    shell.session.variables.secrets.clear()
    run_missing(shell.session, None)
    assert runs(shell)[-1].arguments == {"prompt": "a striped zebra", "steps": 1}
    assert runs(shell)[-1].secrets == {"a striped zebra": "${env.WHO}"}


def test_without_a_sweep_nothing_can_be_missing(shell: Shell) -> None:
    with pytest.raises(UsageError, match="no sweep was run"):
        run_missing(shell.session, None)


def test_n_counts_seeds_from_the_one_that_is_given(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=7 -n 3", "arg seed=20", "run -n 2")
    assert [run.seed for run in runs(shell)] == [7, 8, 9, 20, 21]


def test_n_without_a_seed_draws_the_first(shell: Shell) -> None:
    shell.say("load FluxDev", "run -n 3")
    seeds = [run.seed for run in runs(shell)]
    assert [seed - seeds[0] for seed in seeds if seed is not None] == [0, 1, 2]


@pytest.mark.parametrize("line", ["run -n 0", "run -n x", "run -n 2000", "run seed=1,2 -n 3"])
def test_n_is_a_number_of_runs_with_one_seed(shell: Shell, line: str) -> None:
    shell.say("load FluxDev")
    assert shell.code(line) == 2
    assert runs(shell) == []


def test_a_seed_may_follow_the_last_one(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=7", "run seed=last+1")
    assert [run.seed for run in runs(shell)] == [7, 8]


def test_random_seeds_are_the_same_for_each_value_of_another_argument(shell: Shell) -> None:
    shell.say("load FluxDev", "run seed=random,random steps=1,2")
    seeds = [run.seed for run in runs(shell)]
    assert seeds[0] == seeds[1] != seeds[2] == seeds[3]


def test_classes_and_paths_are_swept(shell: Shell) -> None:
    step = FLUX["steps"][0]
    shell.edit(
        variables=FLUX["variables"] | {"sched": "DDIMScheduler"},
        steps=[
            step
            | {
                "pipeline": step["pipeline"]
                | {"scheduler": {"configuration": {"scheduler_type": "variable:sched"}}}
            }
        ],
    )
    shell.say("load FluxDev", "run sched=DDIMScheduler,EulerDiscreteScheduler model=a/b,c/d")
    assert [(run.arguments["sched"], run.arguments["model"]) for run in runs(shell)] == [
        ("DDIMScheduler", "a/b"),
        ("DDIMScheduler", "c/d"),
        ("EulerDiscreteScheduler", "a/b"),
        ("EulerDiscreteScheduler", "c/d"),
    ]


def test_a_path_with_a_comma_that_exists_is_one(shell: Shell) -> None:
    (shell.folder / "a,b").mkdir()
    shell.say("load FluxDev", "run model=a,b")
    assert [run.arguments["model"] for run in runs(shell)] == ["a,b"]


# ------------------------------------------------------------------ prompt files, wildcards


def test_a_file_of_prompts_is_a_run_a_line(shell: Shell) -> None:
    (shell.folder / "prompts.txt").write_text("a red, fox\n\n# no\n  a cat  \r\n")
    shell.say("load FluxDev", "run prompt=@@prompts.txt steps=1,2")
    assert [(run.arguments["prompt"], run.arguments["steps"]) for run in runs(shell)] == [
        ("a red, fox", 1),
        ("a red, fox", 2),
        ("a cat", 1),
        ("a cat", 2),
    ]


def test_a_file_of_numbers_is_a_run_a_line(shell: Shell) -> None:
    (shell.folder / "steps.txt").write_text("4\n8\n")
    shell.say("load FluxDev", "run steps:=@@steps.txt")
    assert [run.arguments["steps"] for run in runs(shell)] == [4, 8]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("run prompt=@@none.txt", "cannot read none.txt"),
        ("run prompt=@@empty.txt", "empty.txt has no lines for prompt"),
        ("arg prompt=@@prompts.txt", "arg takes one value for prompt"),
    ],
)
def test_a_file_of_prompts_that_does_not_fit_is_named(
    shell: Shell, line: str, message: str
) -> None:
    (shell.folder / "empty.txt").write_text("# nothing\n")
    (shell.folder / "prompts.txt").write_text("a\n")
    assert f"error: {message}" in shell.say("load FluxDev", line)
    assert runs(shell) == []


def test_prompts_come_from_standard_input(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a cat\na dog\n")))
    shell.say("load FluxDev", "run prompt=@@-")
    assert [run.arguments["prompt"] for run in runs(shell)] == ["a cat", "a dog"]


def test_wildcards_are_drawn_by_the_seed_and_recorded_as_what_they_became(shell: Shell) -> None:
    (shell.folder / "wildcards").mkdir()
    (shell.folder / "wildcards" / "animal.txt").write_text("fox\ncat\n# no\n\n{old|young} owl\n")
    line = 'run prompt="a {red|{light|dark} blue} __animal__" '
    shell.say("load FluxDev", line + "seed=1..40", line + "seed=1..40")
    prompts = [run.arguments["prompt"] for run in runs(shell)]
    assert prompts[:40] == prompts[40:]
    colours, animals = ("red", "light blue", "dark blue"), ("fox", "cat", "old owl", "young owl")
    assert set(prompts) <= {f"a {c} {a}" for c in colours for a in animals}
    assert len(set(prompts)) > 6


def test_wildcards_of_what_was_set_are_drawn_by_a_drawn_seed(shell: Shell) -> None:
    shell.say("load FluxDev", 'arg prompt="{a|b|c|d|e|f}"', "run", "retry")
    first, again = runs(shell)
    assert first.arguments["prompt"] in "abcdef"
    assert again.arguments == first.arguments
    shell.say(f"run seed={first.drawn_seed}")
    assert runs(shell)[-1].arguments == first.arguments
    assert shell.session.workflow.changed() == {"prompt": "{a|b|c|d|e|f}"}


def test_a_wildcard_whose_file_is_missing_is_named_and_can_be_turned_off(shell: Shell) -> None:
    (shell.folder / "wildcards").mkdir()
    (shell.folder / "wildcards" / "animal.txt").write_text("fox\n")
    text = shell.say("load FluxDev", "run prompt=__animals__")
    assert "the file wildcards/animals.txt of the wildcard __animals__ is missing" in text
    assert "'animal'" in text
    assert runs(shell) == []
    shell.say("config wildcards=", 'run prompt="__animals__ {a|b}"')
    assert runs(shell)[-1].arguments == {"prompt": "__animals__ {a|b}"}


def test_wildcards_without_an_end_are_refused(shell: Shell) -> None:
    (shell.folder / "wildcards").mkdir()
    (shell.folder / "wildcards" / "a.txt").write_text("__a__ __a__\n")
    assert "lead to more than 1000 others" in shell.say("load FluxDev", "run prompt=__a__")


@pytest.mark.parametrize(
    ("line", "prompt"),
    [
        ("run steps=2 prompt=A red fox in the snow", "A red fox in the snow"),
        ("run prompt=A red  fox, - 5 of them", "A red fox, - 5 of them"),
    ],
)
def test_a_prompt_that_is_the_last_word_is_the_rest_of_the_line(
    shell: Shell, line: str, prompt: str
) -> None:
    shell.say("load FluxDev", line)
    assert runs(shell)[-1].arguments["prompt"] == prompt


@pytest.mark.parametrize(
    "line", ["run prompt=a red steps=2", "run prompt=a red --timeout 5", 'run prompt="a" red']
)
def test_a_prompt_that_is_followed_by_something_else_is_quoted(shell: Shell, line: str) -> None:
    shell.say("load FluxDev")
    assert shell.code(line) == 2


# ------------------------------------------------------------------ captions


def test_a_caption_begins_with_what_is_short() -> None:
    run = {"prompt": "a lighthouse on a cliff", "steps": 4}
    assert caption(run, ["prompt", "steps"]) == "steps=4, prompt=a lighthouse on a cliff"
