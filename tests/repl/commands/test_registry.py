from __future__ import annotations

import pytest

from dw.errors import UsageError
from dw.repl.commands.registry import (
    COMMANDS,
    GROUPED,
    ShellCommand,
    find_command,
    parse,
)
from dw.repl.lexer import lex
from tests.repl.conftest import Shell

ALL = pytest.mark.parametrize("found", COMMANDS.values(), ids=COMMANDS)


def test_the_commands_are_these() -> None:
    assert [*COMMANDS] == [
        *("load", "reload", "validate", "arg", "run", "rerun", "retry", "watch"),
        *("queue", "cancel", "wait"),
        *("history", "show", "images", "open", "memory", "clear", "status", "worker"),
        *("edit", "config", "source", "let", "try", "trace", "help", "exit"),
    ]


@ALL
def test_every_command_is_documented(found: ShellCommand) -> None:
    assert found.doc
    assert all(parameter.doc for parameter in found.takes)
    assert found.usage.startswith(found.name)


@ALL
def test_every_example_is_a_use_of_its_command(found: ShellCommand) -> None:
    assert parse(lex(found.example)).command is found


@ALL
def test_every_command_has_its_help(shell: Shell, found: ShellCommand) -> None:
    assert shell.say(f"help {found.name}").startswith(f"usage: {found.usage}\n  {found.doc}\n")


def test_help_lists_every_command(shell: Shell) -> None:
    lines = shell.say("help").splitlines()[1:]
    assert [line.split()[0] for line in lines] == [*COMMANDS]


def test_every_grouped_command_exists() -> None:
    for words in (words for group in GROUPED.values() for words in group.values()):
        assert find_command(words[0])


def test_an_alias_finds_its_command() -> None:
    assert find_command("quit") is COMMANDS["exit"]


def test_an_unknown_command_is_named_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"unknown command 'lod'.*'load'"):
        find_command("lod")
