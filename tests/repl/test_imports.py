"""What the shell's process imports, and when: the prompt waits for nothing it does not need."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest

HEAVY = ("torch", "diffusers", "transformers", "numpy")
LATER = ("rich", "pydantic", "PIL", "tomlkit", "httpx2")

AT_THE_PROMPT = """
import dw.repl.app, dw.repl.commands.all, dw.repl.prompt, dw.terminal.live, dw.worker.client
"""
AFTER_A_SCRIPT = """
import sys
from tests.repl import fake_shell
sys.argv = ["dw", "succeeds"]
commands = ["-c", "load FluxDev", "-c", "run", "-c", "arg", "-c", "help"]
fake_shell.app.main(commands, fake_shell.connect)
"""


@cache
def imported(program: str) -> set[str]:
    program += "\nimport sys; print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return {name.split(".")[0] for name in done.stderr.splitlines()[-1].split()}


@pytest.mark.parametrize("name", HEAVY + LATER)
def test_the_prompt_is_there_without(name: str) -> None:
    assert name not in imported(AT_THE_PROMPT)


def test_a_whole_session_never_imports_what_belongs_to_the_worker(
    folder: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.repl.test_scripts import ROOT

    monkeypatch.setenv("PYTHONPATH", ROOT)
    assert not imported(AFTER_A_SCRIPT) & set(HEAVY)


def test_a_spawned_worker_imports_a_light_main_module() -> None:
    assert "dw.repl.app" not in _modules("import dw.repl.__main__")


def _modules(program: str) -> set[str]:
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())
