"""Loading workflows, and checking them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from dw.events import Prepare
from dw.terminal.messages import display_path
from dw.types import Diagnostic
from tests.repl.conftest import FLUX, Shell, write


def test_load_shows_the_workflow_on_one_screen(shell: Shell) -> None:
    assert shell.say("load FluxDev steps=20").splitlines() == [
        "FluxDev: text to image",
        "  from examples/FluxDev.json",
        "  step gen: FluxPipeline, nobody/tiny",
        "  argument  type     value",
        "  prompt    text     a cat",
        "  steps     integer  20",
        "  sharp     boolean  false",
        "  model     text     nobody/tiny",
        "  seed      integer  random",
    ]


def test_load_lets_the_standby_prepare(shell: Shell) -> None:
    shell.say("load FluxDev")
    (command,) = shell.client.commands
    assert isinstance(command, Prepare)
    assert command.path == str(shell.folder / "examples" / "FluxDev.json")


@pytest.mark.parametrize("name", ["FluxDev.json", "examples/FluxDev", "./examples/FluxDev.json"])
def test_a_workflow_is_found_by_name_file_or_path(shell: Shell, name: str) -> None:
    assert shell.code(f"load {name}") == 0
    assert display_path(shell.session.workflow.path) == "examples/FluxDev.json"


def test_a_workflow_that_does_not_load_leaves_all_as_it_was(shell: Shell) -> None:
    write(shell.folder / "examples" / "broken.json", FLUX | {"steps": []})
    shell.say("load FluxDev", "run")
    assert shell.code("load broken") == 3
    assert shell.code("load FluxDve") == 2
    assert shell.code("load sdxl stpes=3") == 2
    assert shell.session.workflow.name == "FluxDev"
    assert shell.client.has_worker


def test_an_unknown_workflow_is_named_with_the_nearest(shell: Shell) -> None:
    assert "(did you mean 'FluxDev'?)" in shell.say("load FluxDve")


def test_a_broken_file_is_shown_with_its_positions(shell: Shell) -> None:
    path = shell.folder / "examples" / "broken.json"
    path.write_text('{"id": "x",\n "steps": [}')
    assert shell.say("load broken").startswith("error: examples/broken.json:2:12: ")


def test_arguments_that_a_load_resets_are_named(shell: Shell) -> None:
    shell.say("load FluxDev", "arg prompt=fox steps=3")
    assert shell.say("load sdxl").splitlines()[-1] == "2 arguments were reset: prompt, steps"
    shell.say("arg prompt=fox steps=3")
    assert shell.say("load sdxl steps=4").splitlines()[-1] == "1 argument was reset: prompt"
    shell.say("arg reset")
    assert "reset" not in shell.say("load FluxDev")


def test_a_missing_file_is_warned_of_once_and_not_when_another_is_named(shell: Shell) -> None:
    step = FLUX["steps"][0]
    pipeline = step["pipeline"] | {"arguments": {"prompt": "a cat", "image": "variable:img"}}
    shell.edit(
        variables=FLUX["variables"] | {"img": "none.png"}, steps=[step | {"pipeline": pipeline}]
    )
    *_, warning = shell.say("load FluxDev").splitlines()
    assert re.fullmatch(
        r"warning: examples/FluxDev\.json:\d+:\d+: file 'none\.png' does not exist.*", warning
    )
    Path("good.png").touch()
    assert "warning" not in shell.say("load FluxDev img=good.png")


def test_an_argument_that_no_longer_fits_is_dropped_and_said(shell: Shell) -> None:
    shell.say("load FluxDev", "arg steps=30 sharp=yes prompt=fox")
    shell.edit(variables={"prompt": "a cat", "steps": [1, 2], "model": "nobody/tiny"})
    assert shell.say("reload").splitlines()[:2] == [
        "warning: the argument steps was dropped: steps must be a list of integers, got 30",
        "warning: the argument sharp was dropped: FluxDev has no argument 'sharp'",
    ]
    assert shell.session.workflow.overrides == {"prompt": "fox"}


def test_validate_shows_every_problem(shell: Shell) -> None:
    shell.client.problems = (
        Diagnostic("f.json", 1, 2, "no such class"),
        Diagnostic("f.json", 3, 1, "unused", "warning"),
    )
    assert shell.say("load FluxDev", "validate").splitlines()[-3:] == [
        "f.json:1:2: error: no such class",
        "f.json:3:1: warning: unused",
        "error: examples/FluxDev.json has 1 error(s)",
    ]
    assert shell.code("validate sdxl") == 3
    shell.client.problems = ()
    assert shell.say("validate sdxl") == "examples/sdxl.json is valid\n"


@pytest.mark.parametrize("line", ["validate", "run"])
def test_what_the_classes_say_of_a_broken_file_is_told_with_the_rest(
    shell: Shell, line: str
) -> None:
    shell.say("load FluxDev")
    shell.edit(seed="x")
    shell.client.problems = (Diagnostic("examples/FluxDev.json", 9, 9, "no argument 'promt'"),)
    printed = [each for each in shell.say(line).splitlines() if each.startswith("examples/")]
    assert printed == [
        "examples/FluxDev.json:9:9: error: no argument 'promt'",
        "examples/FluxDev.json:31:10: error: "
        "'seed' must be an integer from 0 to 4294967295, got 'x'",
    ]


def test_what_is_no_json_is_told_without_a_worker(shell: Shell) -> None:
    (shell.folder / "examples" / "FluxDev.json").write_text("{")
    assert "examples/FluxDev.json:1:2: error: the file ends too early" in shell.say(
        "validate FluxDev"
    )
    assert shell.client.commands == []
