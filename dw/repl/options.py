"""The command line of the shell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dw.console.options import ProgramOptions, add_program_options, program_options
from dw.programs import shell_parser
from dw.repl.lexer import Word, shell_word


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """`scripts` are `("-c", COMMAND)` and `("--script", FILE)` in the order given."""

    program: ProgramOptions
    workflow: str | None = None
    arguments: tuple[Word, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()
    interactive: bool = False
    keep_going: bool = False


def shell_options(argv: Sequence[str] | None) -> ShellOptions:
    """Exits with code 2 when the command line is wrong."""
    parser = shell_parser()
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="load this one first")
    scripts = parser.add_argument_group("scripts", "run in the order in which they are given")
    scripts.add_argument(
        "-c",
        "--command",
        dest="scripts",
        action="append",
        type=lambda text: ("-c", text),
        metavar="CMD",
        help="run this command; repeatable",
    )
    scripts.add_argument(
        "--script",
        dest="scripts",
        action="append",
        type=lambda text: ("--script", text),
        metavar="FILE",
        help="run this file, - is stdin; repeatable",
    )
    parser.add_argument(
        "-i", "--interactive", action="store_true", help="stay at the prompt afterwards"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="sets ${NAME} in scripts, and with WORKFLOW also its argument NAME",
    )
    parser.add_argument("-k", "--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--echo", action="store_true", help="show each command before it runs")
    add_program_options(parser)
    given = parser.parse_args(argv)
    words = tuple(map(shell_word, given.set))
    for word, text in zip(words, given.set, strict=True):
        if word.name is None:
            parser.error(f"{text!r} is not name=value")
    program = program_options(parser, given)
    if given.interactive and given.json:
        parser.error("--json and --interactive are mutually exclusive")
    return ShellOptions(
        program,
        given.workflow,
        words,
        tuple(given.scripts or ()),
        interactive=given.interactive,
        keep_going=given.keep_going,
    )
