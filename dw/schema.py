"""`dw schema`: the JSON Schema of workflow files, for editors, or of one workflow's arguments.

The latter is what a server answers with at `/v1/workflows/{name}/schema`. The exit code is 3 when
the workflow is not valid.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dw.errors import EXIT_OK
from dw.programs import exit_code, program_parser
from dw.settings import load_settings
from dw.terminal.renderer import Stream

FILE = Path(__file__).parent / "workflow" / "schema.json"
"""Made from the models by docs/generate.py."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = program_parser("schema")
    parser.add_argument(
        "workflow", nargs="?", metavar="WORKFLOW", help="print the schema of its arguments instead"
    )
    parser.add_argument("--trust", action="store_true", help="allow code and paths from anywhere")
    given = parser.parse_args(argv)

    def write(out: Stream, _: Stream) -> int:
        if given.workflow is None:
            out.line(FILE.read_text(encoding="utf-8").rstrip())
        else:
            out.line(_schema_of(given.workflow, trust=given.trust))
        return EXIT_OK

    return exit_code(write)


def _schema_of(name: str, *, trust: bool) -> str:
    """Raises UsageError for an unknown workflow, and WorkflowError for one with errors."""
    from dw.workflow import load_document
    from dw.workflow.find import find_workflow
    from dw.workflow.inputs import arguments_schema

    settings = load_settings()
    path = find_workflow(name, Path(settings.workflow_dir).expanduser())
    permissions = replace(settings, trust=trust or settings.trust).permissions
    schema = arguments_schema(load_document(path, permissions=permissions))
    return json.dumps(schema, indent=2, ensure_ascii=False)


if __name__ == "__main__":
    sys.exit(main())
