"""Keys, through prompt_toolkit's own pipe: what is typed, and what the session makes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import PipeInput, create_pipe_input
from prompt_toolkit.output import DummyOutput

from dw.repl.prompt import do, make_prompt, toolbar
from dw.terminal.capabilities import Terminal
from tests.repl.conftest import Shell

TERMINAL = Terminal(has_input=True, has_output=True, is_simple=False, environment={"TERM": "xterm"})
CTRL_C, CTRL_D, UP = "\x03", "\x04", "\x1b[A"
PASTE, PASTED = "\x1b[200~", "\x1b[201~"

Type = Callable[[str], str]


@pytest.fixture
def keys() -> Iterator[PipeInput]:
    with create_pipe_input() as pipe, create_app_session(input=pipe, output=DummyOutput()):
        yield pipe


@pytest.fixture
def typed(shell: Shell, keys: PipeInput) -> Type:
    """The line that the prompt returns for these keys."""
    prompt = make_prompt(shell.session, TERMINAL)

    def type_keys(text: str) -> str:
        keys.send_text(text)
        return prompt.prompt("dw> ")

    return type_keys


def test_enter_gives_the_line(typed: Type) -> None:
    assert typed("load FluxDev\r") == "load FluxDev"


def test_ctrl_c_clears_the_line(typed: Type) -> None:
    assert typed(f"rub{CTRL_C}run\r") == "run"


def test_ctrl_c_on_an_empty_line_stays(typed: Type) -> None:
    assert typed(f"{CTRL_C}{CTRL_C}run\r") == "run"


def test_ctrl_d_leaves(typed: Type) -> None:
    with pytest.raises(EOFError):
        typed(CTRL_D)


def test_up_searches_for_what_begins_as_typed(typed: Type) -> None:
    typed("run seed=1\r")
    typed("memory\r")
    assert typed(f"ru{UP}\r") == "run seed=1"


def test_a_line_that_begins_with_a_blank_is_not_remembered(typed: Type, shell: Shell) -> None:
    typed("run\r")
    typed(" let token=secret\r")
    assert typed(f"{UP}\r") == "run"
    assert "secret" not in (shell.folder / "xdg_state_home/dw/history").read_text()


def test_enter_goes_on_inside_triple_quotes(typed: Type) -> None:
    assert typed('arg prompt="""a\rb"""\r') == 'arg prompt="""a\nb"""'


def test_tab_offers_what_the_completion_finds(shell: Shell) -> None:
    completer = make_prompt(shell.session, TERMINAL).completer
    assert completer is not None
    (found,) = completer.get_completions(Document("load fl"), CompleteEvent())
    assert (found.text, found.start_position, found.display_meta_text) == (
        "FluxDev ",
        -2,
        "text to image",
    )


def test_a_pasted_text_is_several_commands(typed: Type, shell: Shell) -> None:
    text = typed(f"{PASTE}load FluxDev\narg steps=3\n{PASTED}\r")
    do(shell.session, text)
    assert shell.session.workflow.overrides == {"steps": 3}


def test_a_failing_command_ends_a_pasted_text(shell: Shell) -> None:
    do(shell.session, "load FluxDev\narg stpes=3\nrun")
    assert not shell.client.has_worker


def test_the_toolbar_shows_the_workflow_the_worker_and_the_device(shell: Shell) -> None:
    assert toolbar(shell.session) == " no workflow · worker: standby · auto"
    shell.say("load FluxDev", "arg steps=3", "run", "config rehearse=on")
    assert toolbar(shell.session) == " FluxDev · 1 set · worker: idle · Test GPU · rehearsal"


def test_the_toolbar_never_raises(shell: Shell) -> None:
    shell.client.status = None  # type: ignore[method-assign, assignment]
    assert toolbar(shell.session) == " TypeError in the toolbar"


def test_nothing_moves_on_a_simple_terminal(shell: Shell, keys: PipeInput) -> None:
    prompt = make_prompt(shell.session, replace(TERMINAL, is_simple=True))
    assert prompt.bottom_toolbar is None
    assert prompt.auto_suggest is None
    keys.send_text("run\r")
    assert prompt.prompt("dw> ") == "run"


def test_a_history_that_cannot_be_kept_is_no_obstacle(
    shell: Shell, keys: PipeInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null/nowhere")
    keys.send_text("run\r")
    assert make_prompt(shell.session, TERMINAL).prompt("dw> ") == "run"
