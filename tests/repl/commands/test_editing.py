"""`edit`, names in any case, `?` and the bell."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from dw.repl.commands.editing import editor_command
from tests.repl.conftest import Shell


def editor(shell: Shell, monkeypatch: pytest.MonkeyPatch, name: str, code: int = 0) -> Path:
    """An editor of that name, which writes what it is given into a file."""
    path, given = shell.folder / name, shell.folder / "given"
    path.write_text(
        f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n"
        f"Path({str(given)!r}).write_text(' '.join(sys.argv[1:]))\nsys.exit({code})\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("VISUAL", str(path))
    return given


def test_edit_opens_the_workflow(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    given = editor(shell, monkeypatch, "vim")
    text = shell.say("load FluxDev", "edit")
    assert given.read_text() == "examples/FluxDev.json"
    assert text.splitlines()[-1] == "examples/FluxDev.json is read again at the next run"


def test_edit_opens_at_the_line_of_the_last_error(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = editor(shell, monkeypatch, "vim")
    path = shell.folder / "examples" / "FluxDev.json"
    path.write_text(path.read_text().replace('"steps": [', '"stpes": ['))
    line = 1 + path.read_text()[: path.read_text().index('"stpes"')].count("\n")
    shell.say("load FluxDev", "edit")
    assert given.read_text() == f"+{line} examples/FluxDev.json"
    shell.say("edit sdxl")
    assert given.read_text() == "examples/sdxl.json"


def test_an_editor_that_fails_is_told(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    editor(shell, monkeypatch, "vim", code=3)
    assert "vim ended with the code 3" in shell.say("load FluxDev", "edit")
    monkeypatch.setenv("VISUAL", "no-such-editor")
    assert "cannot start the editor 'no-such-editor'" in shell.say("edit")


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("nano -l", ["nano", "-l", "+7", "a.json"]),
        ("code --wait", ["code", "--wait", "--goto", "a.json:7"]),
        ("hx", ["hx", "a.json:7"]),
        ("unknown", ["unknown", "a.json"]),
    ],
)
def test_each_editor_is_told_the_line_in_its_own_way(
    monkeypatch: pytest.MonkeyPatch, setting: str, expected: list[str]
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", setting)
    assert editor_command(Path("a.json"), 7) == expected


def test_a_script_edits_nothing(scripted: Shell) -> None:
    scripted.say("load FluxDev")
    assert scripted.code("edit") == 2


def test_names_are_taken_in_any_case(shell: Shell) -> None:
    assert "FluxDev: text to image" in shell.say("LOAD fluxdev")
    assert "Workflow completed successfully" in shell.say("Run steps=2")
    assert "Workflow completed successfully" in shell.say("Workflow run")
    assert shell.say("?") == shell.say("help")


def test_a_long_run_rings_the_bell(shell: Shell) -> None:
    assert "\a" not in shell.say("load FluxDev", "run", "config bell=0.000001", "arg")
    assert shell.say("run").endswith("\a")
    assert "\a" not in shell.say("config bell=off", "run")


def test_in_a_script_nothing_rings(scripted: Shell) -> None:
    scripted.say("load FluxDev", "config bell=0.000001")
    assert "\a" not in scripted.say("run") + scripted.err.getvalue()
