"""`dw validate WORKFLOW...`: every problem in workflow files, as file:line:column.

The files are compared with the installed classes in this process, without a worker. The exit code
is 0 when all are valid, 3 when one is not, 2 when a file does not exist.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from dw.errors import EXIT_OK, Bug, DwError, WorkflowError
from dw.programs import add_workflow_files, exit_code, named_files, program_parser, report
from dw.refusals import understood
from dw.settings import Settings, load_settings
from dw.terminal.messages import display_path
from dw.terminal.renderer import OutputClosed, Stream
from dw.types import Diagnostic


def main(argv: Sequence[str] | None = None) -> int:
    parser = program_parser("validate")
    add_workflow_files(parser)
    given = parser.parse_args(argv)

    def validate(out: Stream, err: Stream) -> int:
        settings = load_settings()
        if given.trust:
            settings = replace(settings, trust=True)
        code = EXIT_OK
        for name in given.workflows:
            code = _validate(name, settings, out, err, as_json=given.json) or code
        return code

    return exit_code(validate)


def _validate(name: str, settings: Settings, out: Stream, err: Stream, *, as_json: bool) -> int:
    """The exit code for one file or folder; an error about it does not stop the others."""
    code = EXIT_OK
    try:
        for path in named_files(name, settings):
            found, problems = _judged(path, settings, err)
            is_valid = found == EXIT_OK
            for line in _report(display_path(path), problems, is_valid=is_valid, as_json=as_json):
                out.line(line)
            code = max(code, found)
    except DwError as error:
        return report(error, err)
    return code


def _judged(path: Path, settings: Settings, err: Stream) -> tuple[int, tuple[Diagnostic, ...]]:
    """The exit code for one file, and its problems: one of them is whatever prevents its checks."""
    try:
        problems = _problems(path, settings)
    except OutputClosed:
        raise
    except Exception as error:
        told = understood(error)
        if isinstance(told, Bug):
            err.line(traceback.format_exc())
        return told.exit_code, (Diagnostic(str(path), 1, 1, told.message),)
    is_valid = all(problem.severity != "error" for problem in problems)
    return EXIT_OK if is_valid else WorkflowError.exit_code, problems


def _problems(path: Path, settings: Settings) -> tuple[Diagnostic, ...]:
    """The problems of the file itself, and of its comparison with the installed classes."""
    from dw.workflow import validate_file

    try:
        result = validate_file(path, permissions=settings.permissions)
    except WorkflowError as error:  # the file cannot be read, so no place in it is known
        return (Diagnostic(str(path), 1, 1, error.message),)
    if result.document is None:
        return result.problems
    from dw.engine import Engine

    engine = Engine()
    found = engine.check(result.document)
    notes = () if settings.rehearse else engine.check_models(result.document, settings.device)
    return result.with_more([*found, *notes]).problems


def _report(
    name: str, problems: Sequence[Diagnostic], *, is_valid: bool, as_json: bool
) -> Iterator[str]:
    if as_json:
        found = {"file": name, "valid": is_valid, "problems": [asdict(each) for each in problems]}
        yield json.dumps(found, ensure_ascii=False)
        return
    yield from map(str, problems)
    if is_valid:
        yield f"{name} is valid"


if __name__ == "__main__":
    sys.exit(main())
