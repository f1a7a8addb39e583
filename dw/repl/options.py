"""The command lines of `dw.repl`, `dw.run` and `dw.validate`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import dw
from dw.errors import UsageError
from dw.repl.lexer import Word, shell_word
from dw.settings import Settings
from dw.terminal.capabilities import ColorChoice

EXIT_CODES = """\
exit codes:
  0 done   1 a run or command failed   2 usage   3 invalid workflow   4 worker lost
  5 out of memory or disk   6 timeout   70 a bug in dw   130, 143 interrupted
"""


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """How a session shows itself."""

    json: bool = False
    plain: bool = False
    quiet: bool = False
    echo: bool = False
    color: ColorChoice = "auto"


@dataclass(frozen=True, slots=True)
class Options:
    """`scripts` are `("-c", COMMAND)` and `("--script", FILE)` in their order.

    `settings` are pairs of a name and its text.
    """

    look: OutputOptions
    workflow: str | None = None
    arguments: tuple[Word, ...] = ()
    scripts: tuple[tuple[str, str], ...] = ()
    settings: tuple[tuple[str, str], ...] = ()
    interactive: bool = False
    keep_going: bool = False
    trust: bool = False
    yes: bool = False
    traceback: bool = False

    def apply(self, settings: Settings) -> Settings:
        """The settings with what the command line says on top. Raises UsageError."""
        for name, text in self.settings:
            settings = settings.changed(name, text)
        return settings


def repl_options(argv: Sequence[str] | None) -> Options:
    """The command line of the shell. Leaves with exit code 2 when it is wrong."""
    parser = _parser(
        "dw", "A shell for diffusers workflows. Without a terminal or with -c, a script."
    )
    parser.add_argument("workflow", nargs="?", metavar="WORKFLOW", help="load this one first")
    scripts = parser.add_argument_group("scripts", "run in the order in which they are given")
    for names, metavar, doc in (
        (("-c", "--command"), "CMD", "run this; repeatable"),
        (("--script",), "FILE", "run this file, - is stdin; repeatable"),
    ):
        scripts.add_argument(
            *names,
            dest="scripts",
            action="append",
            type=partial(_labelled, names[0]),
            metavar=metavar,
            help=doc,
        )
    parser.add_argument(
        "-i", "--interactive", action="store_true", help="stay at the prompt afterwards"
    )
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="${NAME} in scripts, and with WORKFLOW an argument that it must declare",
    )
    parser.add_argument("-k", "--keep-going", action="store_true", help="do not stop at a failure")
    parser.add_argument("--echo", action="store_true", help="show each command before it runs")
    _add_common(parser)
    given = parser.parse_args(argv)
    return _options(parser, given, given.set, scripts=tuple(given.scripts or ()))


def run_options(argv: Sequence[str] | None) -> Options:
    """The command line of `python -m dw.run`. Leaves with exit code 2 when it is wrong."""
    parser = _parser("python -m dw.run", "Run one workflow.")
    parser.add_argument("workflow", metavar="WORKFLOW", help="a name in workflow_dir or a path")
    parser.add_argument(
        "arguments", nargs="*", default=[], metavar="name=value", help="its arguments"
    )
    parser.add_argument(
        "--traceback", action="store_true", help="show the traceback of a failure on stderr"
    )
    _add_common(parser)
    given = parser.parse_intermixed_args(argv)
    return _options(parser, given, given.arguments)


def _parser(name: str, doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name,
        description=doc,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dw {dw.__version__}")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="events as JSON lines on stdout")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="only results, warnings and errors"
    )
    parser.add_argument("--yes", action="store_true", help="answer every question with yes")
    parser.add_argument("--timeout", metavar="SECONDS", help="how long a run may execute")
    parser.add_argument("--device", metavar="DEVICE", help="auto, cuda, cuda:N, mps or cpu")
    parser.add_argument(
        "--rehearse", action="store_true", help="tiny stand-ins for the real models"
    )
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    parser.add_argument("--color", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--plain", action="store_true", help="lines only, nothing that moves")


def _options(
    parser: argparse.ArgumentParser,
    given: Any,
    pairs: Sequence[str],
    scripts: tuple[tuple[str, str], ...] = (),
) -> Options:
    words = tuple(shell_word(text) for text in pairs)
    for word, text in zip(words, pairs, strict=True):
        if word.name is None:
            parser.error(f"{text!r} is not name=value")
    settings = [
        (name, str(getattr(given, name))) for name in ("timeout", "device") if getattr(given, name)
    ]
    settings += [("rehearse", "on")] if given.rehearse else []
    options = Options(
        look=OutputOptions(
            given.json, given.plain, given.quiet, getattr(given, "echo", False), given.color
        ),
        workflow=given.workflow,
        arguments=words,
        scripts=scripts,
        settings=tuple(settings),
        interactive=getattr(given, "interactive", False),
        keep_going=getattr(given, "keep_going", False),
        trust=given.trust,
        yes=given.yes,
        traceback=getattr(given, "traceback", False),
    )
    _check(parser, options)
    return options


def _check(parser: argparse.ArgumentParser, options: Options) -> None:
    try:
        options.apply(Settings())
    except UsageError as error:
        parser.error(error.message)
    if options.interactive and options.look.json:
        parser.error("--json and --interactive cannot be had together")


def _labelled(option: str, text: str) -> tuple[str, str]:
    return option, text
