"""Remedies: each has words in every program, and nothing below the programs has such words."""

import ast
import re
from pathlib import Path
from typing import get_args

import pytest

import dw.repl.commands.all  # noqa: F401 - it fills the registry
from dw.codec import from_bytes, to_bytes
from dw.errors import Install, LoadPath, RaiseTimeout, Remedy, RunFailed, TrustWorkflow
from dw.events import Failed
from dw.repl.commands.registry import COMMANDS
from dw.run import run_options
from dw.settings import Settings
from dw.terminal.remedies import PROGRAM, SHELL

ROOT = Path(__file__).parents[1]
BELOW_THE_PROGRAMS = [
    path
    for room in ("engine", "workflow", "worker", "jobs", "rehearsal")
    for path in sorted(ROOT.glob(f"dw/{room}/**/*.py"))
] + [ROOT / f"dw/{name}.py" for name in ("errors", "extras", "settings", "run_record", "types")]

NAMES = "|".join(sorted(COMMANDS))
OF_A_PROGRAM = re.compile(
    rf"(^|[\s`'\"(])--[a-z]"  # an option: `--trust`
    rf"|`({NAMES})( [^`]*)?`"  # a command in quotes: `config timeout=9`
    rf"|(^|; )({NAMES})( \S+)?   "  # and with what it does: `memory   shows what fills it`
    rf"|\b(config|arg|let) [a-z_]+="
    rf"|; ({NAMES}) [a-z]+ it\b|^retry\b"
)

REMEDIES = [
    Install("pip install a", "a", effect="lets it run")
    if each is Install
    else RaiseTimeout(60)
    if each is RaiseTimeout
    else each("x")
    if each.__match_args__[0] != "name"
    else each()
    for each in get_args(Remedy)
]


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda each: each.name)
def test_every_remedy_crosses_the_pipe(remedy: Remedy) -> None:
    event = Failed(1, "run", "no", hints=("a fact", remedy))
    assert from_bytes(to_bytes(event)) == event


def test_no_two_remedies_have_one_name() -> None:
    assert len({remedy.name for remedy in REMEDIES}) == len(REMEDIES)


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda each: each.name)
def test_every_remedy_has_words_in_the_shell(remedy: Remedy) -> None:
    (text,) = SHELL.hints([remedy])
    assert "{" not in text


@pytest.mark.parametrize("remedy", REMEDIES, ids=lambda each: each.name)
def test_a_program_names_options_and_settings_that_there_are(remedy: Remedy) -> None:
    text = " ".join(PROGRAM.hints([remedy]))
    for option in re.findall(r"--[a-z-]+", text):
        value = ["9"] if option == "--timeout" else []
        run_options(["a_workflow", option, *value])
    for name in re.findall(r"DW_([A-Z_]+)", text):
        assert name.lower() in Settings.names()
    assert not re.match(rf"({NAMES})(   | [a-z_]+=)", text)


def test_hints_keep_their_order_and_remedies_are_among_them() -> None:
    error = RunFailed("no", hints=[TrustWorkflow("you trust it"), "or not", LoadPath("a.json")])
    assert SHELL.hints(error.hints) == (
        "run with --trust if you trust it",
        "or not",
        "load a.json",
    )
    assert error.remedies == (TrustWorkflow("you trust it"), LoadPath("a.json"))


def strings(path: Path) -> list[str]:
    """The strings of a module, without its docstrings; of an f-string those in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    return [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    ]


@pytest.mark.parametrize(
    "path", BELOW_THE_PROGRAMS, ids=lambda path: str(path.relative_to(ROOT / "dw"))
)
def test_below_the_programs_no_text_names_a_command_or_an_option(path: Path) -> None:
    assert [text for text in strings(path) if OF_A_PROGRAM.search(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "run with --trust if you trust the workflow",
        "config output_dir=... writes elsewhere",
        "trace   shows its last lines",
        "; clear forgets it",
        "`memory` shows it",
        "retry --timeout 600",
        "load PATH   loads a file from anywhere",
    ],
)
def test_texts_that_name_one_are_found(text: str) -> None:
    assert OF_A_PROGRAM.search(text)
