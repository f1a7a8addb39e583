"""Programs: what `dw` can be followed by, with the parser and the error handling that all share.

A new program is one entry in `PROGRAMS` and a module with a `main(argv)`, which returns the exit
code.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import dw
from dw.console.signals import Signals, run_program
from dw.errors import EXIT_SIGPIPE, Bug, DwError, Interrupted, UsageError, did_you_mean
from dw.refusals import understood
from dw.settings import parse_seconds
from dw.terminal.remedies import PROGRAM
from dw.terminal.renderer import OutputClosed, Stream, error_lines

if TYPE_CHECKING:
    from dw.settings import Settings

EXIT_CODES = """\
exit codes:
  0 done   1 a run or command failed   2 usage   3 invalid workflow   4 worker lost
  5 out of memory or disk   6 timeout   70 a bug in dw   130, 143 interrupted
"""


GRACE_S = 30.0


class ProgramEntry(NamedTuple):
    module: str
    summary: str
    example: str


PROGRAMS = {
    "run": ProgramEntry("dw.run", "run one workflow", 'dw run FluxDev prompt="a red fox" seed=7'),
    "validate": ProgramEntry(
        "dw.validate", "report every problem in workflow files", "dw validate examples"
    ),
    "rehearse": ProgramEntry(
        "dw.rehearse", "run workflows on tiny stand-in models", "dw rehearse examples"
    ),
    "serve": ProgramEntry(
        "dw.serve", "run workflows as jobs behind HTTP", "dw serve --workflows examples"
    ),
    "runpod": ProgramEntry(
        "dw.runpod.program", "run jobs of a RunPod endpoint", "dw runpod --workflow shapes"
    ),
    "doctor": ProgramEntry(
        "dw.doctor", "check this machine, its disks, device and models", "dw doctor examples"
    ),
    "comfyui": ProgramEntry(
        "dw.comfyui", "make a workflow from a ComfyUI graph", "dw comfyui fox.png > fox.json"
    ),
    "schema": ProgramEntry(
        "dw.schema", "print the JSON Schema of workflow files", "dw schema > dw.schema.json"
    ),
}
"""By the first word of a command line. Any other first word belongs to the shell."""


def program_parser(name: str) -> argparse.ArgumentParser:
    """The parser of one program, without its arguments."""
    program = PROGRAMS[name]
    summary = f"{program.summary[0].upper()}{program.summary[1:]}."
    return _parser(f"dw {name}", summary, f"example: {program.example}")


def shell_parser() -> argparse.ArgumentParser:
    """The parser of the shell, whose help lists the programs, without its arguments."""
    width = max(map(len, PROGRAMS))
    programs = "\n".join(
        f"  {name:{width}}  {program.summary}: {program.example}"
        for name, program in PROGRAMS.items()
    )
    parser = _parser(
        "dw",
        "A shell for diffusers workflows. Runs a script with -c, --script or without a terminal.",
        f"example: dw FluxDev --set num_inference_steps=4 -c run\n\n"
        f"programs, each with an example; dw PROGRAM --help shows the options of one:\n{programs}",
    )
    parser.usage = "dw [OPTION ...] [WORKFLOW]\n       dw PROGRAM ..."
    return parser


def misspelt_program(word: str) -> UsageError | None:
    """The error for a word that is nearly the name of a program, where no workflow has it."""
    if word.startswith("-") or not (nearest := did_you_mean(word, PROGRAMS)):
        return None
    from dw.settings import load_settings
    from dw.workflow.builtin import builtin_names
    from dw.workflow.find import SUFFIX, workflow_names

    try:
        folder = Path(load_settings().workflow_dir).expanduser()
    except UsageError as error:
        return error
    names = {*workflow_names(folder), *builtin_names()}
    if word.removesuffix(SUFFIX) in names or os.path.exists(word):
        return None
    return UsageError(
        f"unknown program or workflow {word!r}{nearest}",
        hints=["dw --help   lists the programs"],
    )


def add_service_options(parser: argparse.ArgumentParser) -> None:
    """The arguments of a program that runs jobs for others."""
    parser.add_argument(
        "--workflows", metavar="DIR", type=Path, help="what is served (the setting workflow_dir)"
    )
    parser.add_argument(
        "--workers", default="auto", metavar="N", help="workers; auto: one for each device"
    )
    parser.add_argument(
        "--storage", default="", metavar="URL", help="where results are copied to: a folder, s3://"
    )
    parser.add_argument("--trust", action="store_true", help="trust the workflows in DIR")
    parser.add_argument(
        "--require-env",
        action="append",
        default=[],
        metavar="NAME",
        help="a variable that must be set, or no job is run; may be repeated",
    )
    parser.add_argument(
        "--require-cuda", action="store_true", help="run no job on a machine without CUDA"
    )
    parser.add_argument(
        "--log-format", choices=("text", "json"), default="text", help="of the log on stderr"
    )
    parser.add_argument(
        "--grace",
        type=lambda text: parse_seconds("--grace", text),
        default=GRACE_S,
        metavar="S",
        help="seconds that running jobs have to end after SIGTERM (%(default)s)",
    )


def add_workflow_files(parser: argparse.ArgumentParser) -> None:
    """The arguments of a program that works through workflow files."""
    parser.add_argument(
        "workflows",
        nargs="+",
        metavar="WORKFLOW",
        help="names in workflow_dir, paths, or folders with all workflows below them",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each file")
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")


def named_files(name: str, settings: Settings) -> Iterator[Path]:
    """The workflow files that a word of the command line names. Raises UsageError."""
    from dw.workflow.find import workflow_files

    folders = (Path(each).expanduser() for each in (settings.workflow_dir, settings.output_dir))
    return workflow_files(name, *folders)


def exit_code(work: Callable[[Stream, Stream], int], signals: Signals | None = None) -> int:
    """The exit code of `work`, which writes to standard output and standard error.

    `signals` are for work that ends at one in its own way.
    """
    out, err = Stream(sys.stdout), Stream(sys.stderr, is_optional=True)

    def reported(signals: Signals) -> int:
        try:
            return work(out, err)
        except (KeyboardInterrupt, Interrupted):
            err.line(signals.cause)
            raise
        except OutputClosed:
            raise
        except Exception as error:
            told = understood(error)
            with suppress(DwError):  # the error may concern the stream that shows it
                report(told, err)
                if isinstance(told, Bug):
                    err.line(traceback.format_exc())
            return told.exit_code

    return run_program(reported, signals)


def report(error: DwError, err: Stream) -> int:
    """Write an error in words. Returns its exit code."""
    for line in error_lines(error, PROGRAM):
        err.line(line)
    return error.exit_code


class _ProgramParser(argparse.ArgumentParser):
    """argparse's parser, which also names the option that a misspelt one is nearest to."""

    def _print_message(self, message: str, file: Any = None) -> None:
        """The text of `--help` and `--version` is a result like another."""
        err = Stream(sys.stderr, is_optional=True)
        try:
            (Stream(file) if file is sys.stdout and file else err).line(message.removesuffix("\n"))
        except OutputClosed:
            sys.exit(EXIT_SIGPIPE)
        except DwError as error:
            sys.exit(report(error, err))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        try:
            return super()._get_value(action, arg_string)
        except UsageError as error:  # which names the option
            raise argparse.ArgumentError(None, error.message) from None

    def error(self, message: str) -> NoReturn:
        # Both ways of parsing, parse_args and parse_intermixed_args, end here.
        _, is_unknown, words = message.partition("unrecognized arguments: ")
        if is_unknown and words.startswith("-"):
            options = [option for option in self._option_string_actions if option.startswith("--")]
            message += did_you_mean(words.split()[0].partition("=")[0], options)
        super().error(message)


def _parser(prog: str, description: str, epilog: str) -> argparse.ArgumentParser:
    parser = _ProgramParser(
        prog,
        description=description,
        epilog=f"{epilog}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"dw {dw.__version__}")
    return parser
