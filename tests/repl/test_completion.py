from __future__ import annotations

from pathlib import Path

import pytest

from dw.repl.commands.registry import COMMANDS
from dw.repl.completion import complete
from tests.repl.conftest import FLUX, Shell, write


def offered(shell: Shell, before: str) -> list[str]:
    return [candidate.text for candidate in complete(shell.session, before)[1]]


def test_a_command_is_offered_with_its_help(shell: Shell) -> None:
    start, (found,) = complete(shell.session, "mem")
    assert (start, found.text, found.meta) == (0, "memory", COMMANDS["memory"].doc)
    assert offered(shell, "")[: len(COMMANDS)] == list(COMMANDS)


def test_a_workflow_is_offered_with_its_description(shell: Shell) -> None:
    start, (found,) = complete(shell.session, "load fl")
    assert (start, found.text, found.meta) == (5, "FluxDev", "text to image")


def test_a_workflow_in_a_folder_is_offered_by_its_path_there(shell: Shell) -> None:
    (shell.folder / "examples" / "video").mkdir()
    write(shell.folder / "examples" / "video" / "wan.json", FLUX)
    assert offered(shell, "load video/w") == ["video/wan"]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ("load FluxDev st", ["steps="]),
        ("load sdxl st", ["steps=", "strength="]),
        ("load nothing st", []),
        ("load ./", ["./examples/"]),
        ("load ./examples/s", ["./examples/sdxl.json"]),
        ("arg st", ["steps="]),
        ("arg sharp=", ["sharp=true", "sharp=false"]),
        ("run seed=", ["seed=random", "seed=last"]),
        ("run --", ["--timeout"]),
        ("run --timeout ", []),
        ("clear -", ["--hard"]),
        ("clear --hard -", []),
        ("arg -", ["-prompt"]),
        ("config reh", ["rehearse="]),
        ("config rehearse=", ["rehearse=on", "rehearse=off"]),
        ("config log_level=d", ["log_level=debug"]),
        ("config device=c", ["device=cuda", "device=cpu"]),
        ("try clear --h", ["--hard"]),
        ("help lo", ["load"]),
        ("worker st", ["start", "stop"]),
        ("workflow lo", ["load"]),
        ("workflow load sd", ["sdxl"]),
        ("memory sh", ["show"]),
        ("arg prompt=@", ["prompt=@examples/"]),
        ("arg prompt=@examples/F", ["prompt=@examples/FluxDev.json"]),
        ("arg prompt=@examples/n", ["prompt=@examples/notes.txt"]),
        ("source ex", ["examples/"]),
        ('arg prompt="a', []),
        ("bogus x", []),
        ("run\nmem", ["memory"]),
    ],
)
def test_what_fits_is_offered(shell: Shell, before: str, expected: list[str]) -> None:
    write(Path("examples/sdxl.json"), FLUX | {"variables": FLUX["variables"] | {"strength": 1}})
    Path("examples/notes.txt").touch()
    shell.say("load FluxDev", "arg prompt=fox")
    assert offered(shell, before) == expected


def test_nothing_is_offered_for_arguments_without_a_workflow(shell: Shell) -> None:
    assert offered(shell, "run st") == []


def test_a_broken_workflow_is_still_offered(shell: Shell) -> None:
    Path("examples/broken.json").write_text("{")
    assert offered(shell, "load br") == ["broken"]
