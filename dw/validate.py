"""`python -m dw.validate WORKFLOW...`: every problem in workflow files, as file:line:column.

Unlike the rest of the shell it compares them with the installed classes in its own process. The
exit code is 0 when all are valid, 3 when one is not, 2 when there is no such file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dw.errors import EXIT_OK, EXIT_SIGPIPE, DwError, WorkflowError
from dw.settings import Settings, load_settings
from dw.terminal.messages import display_path
from dw.terminal.remedies import PROGRAM
from dw.terminal.renderer import OutputClosed, Stream, error_lines
from dw.types import Diagnostic


def main(argv: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(argv)
    out, err = Stream(sys.stdout), Stream(sys.stderr)
    code = EXIT_OK
    try:
        settings = load_settings()
        if given.trust:
            settings = replace(settings, trust=True)
        for name in given.workflows:
            code = _validate(name, settings, given, out, err) or code
    except OutputClosed:
        return EXIT_SIGPIPE
    except DwError as error:
        code = error.exit_code
        err.line(error_lines(error, PROGRAM)[0])
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m dw.validate", description="Check workflow files.")
    parser.add_argument(
        "workflows",
        nargs="+",
        metavar="WORKFLOW",
        help="names in workflow_dir, paths, or folders with all that is in them",
    )
    parser.add_argument("--json", action="store_true", help="one JSON object for each file")
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    return parser


def _validate(
    name: str, settings: Settings, given: argparse.Namespace, out: Stream, err: Stream
) -> int:
    from dw.workflow.find import workflow_files

    code = EXIT_OK
    try:
        for path in workflow_files(name, Path(settings.workflow_dir).expanduser()):
            problems = _problems(path, settings)
            code = _tell(path, problems, out, as_json=given.json) or code
    except DwError as error:
        for line in error_lines(error, PROGRAM):
            err.line(line)
        return error.exit_code
    return code


def _problems(path: Path, settings: Settings) -> tuple[Diagnostic, ...]:
    """What is wrong in the file itself, and what the installed classes say of it."""
    from dw.workflow import validate_file

    try:
        judged = validate_file(path, permissions=settings.permissions)
    except WorkflowError as error:  # it cannot be read, so it has no places: its first character
        return (Diagnostic(str(path), 1, 1, error.message),)
    if judged.document is None:
        return judged.problems
    from dw.engine import Engine

    engine = Engine()
    found = engine.check(judged.document)
    notes = () if settings.rehearse else engine.survey(judged.document, settings.device)
    return judged.with_more([*found, *notes]).problems


def _tell(path: Path, problems: Sequence[Diagnostic], out: Stream, *, as_json: bool) -> int:
    is_valid = all(problem.severity != "error" for problem in problems)
    if as_json:
        found = {
            "file": display_path(path),
            "valid": is_valid,
            "problems": [asdict(p) for p in problems],
        }
        out.line(json.dumps(found, ensure_ascii=False))
    else:
        for line in [
            *map(str, problems),
            *([f"{display_path(path)} is valid"] if is_valid else []),
        ]:
            out.line(line)
    return EXIT_OK if is_valid else WorkflowError.exit_code


if __name__ == "__main__":
    sys.exit(main())
