"""`python -m dw.validate WORKFLOW...`: every problem in workflow files, as file:line:column.

Unlike the rest of the shell it compares them with the installed classes in its own process. The
exit code is 0 when all are valid, 3 when one is not, 2 when there is no such file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from dw.errors import EXIT_OK, EXIT_SIGPIPE, DwError, WorkflowError
from dw.repl.narrator import shown
from dw.repl.renderers.renderer import OutputClosed, Stream, error_lines
from dw.report import Problem
from dw.settings import load_settings


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    code = EXIT_OK
    try:
        folder = Path(load_settings().workflow_dir).expanduser()
        for name in given.workflows:
            code = _validate(name, folder, given, out, err) or code
    except OutputClosed:
        return EXIT_SIGPIPE
    except DwError as error:
        code = error.exit_code
        err.line(error_lines(error)[0])
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m dw.validate", description="Check workflow files.")
    parser.add_argument(
        "workflows", nargs="+", metavar="WORKFLOW", help="names in workflow_dir or paths"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each file")
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    return parser


def _validate(name: str, folder: Path, given: argparse.Namespace, out: Stream, err: Stream) -> int:
    from dw.workflow import find_workflow

    try:
        path = find_workflow(name, folder)
    except DwError as error:
        for line in error_lines(error):
            err.line(line)
        return error.exit_code
    problems = list(_problems(path, trust=given.trust))
    is_valid = all(problem.severity != "error" for problem in problems)
    if given.json:
        found = {"file": shown(path), "valid": is_valid, "problems": [asdict(p) for p in problems]}
        out.line(json.dumps(found, ensure_ascii=False))
    else:
        for line in [*map(str, problems), *([f"{shown(path)} is valid"] if is_valid else [])]:
            out.line(line)
    return EXIT_OK if is_valid else WorkflowError.exit_code


def _problems(path: Path, *, trust: bool) -> Iterator[Problem]:
    """What is wrong in the file itself; when that holds together, what the classes say of it."""
    from dw.workflow import load_document

    try:
        document = load_document(path, trust=trust)
    except WorkflowError as error:
        yield from error.problems or [_unreadable(path, error)]
        return
    yield from document.warnings
    from dw.engine import Engine

    yield from Engine().check(document)


def _unreadable(path: Path, error: WorkflowError) -> Problem:
    """A file that cannot be read has no places in it: the problem is with its first character."""
    return Problem(str(path), 1, 1, error.message)


if __name__ == "__main__":
    sys.exit(main())
