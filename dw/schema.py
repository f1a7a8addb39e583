"""`dw schema`: the JSON Schema of workflow files, for editors."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from dw.errors import EXIT_OK
from dw.programs import exit_code, program_parser
from dw.terminal.renderer import Stream

FILE = Path(__file__).parent / "workflow" / "schema.json"
"""Made from the models by docs/generate.py."""


def main(argv: Sequence[str] | None = None) -> int:
    program_parser("schema").parse_args(argv)

    def write(out: Stream, _: Stream) -> int:
        out.line(FILE.read_text(encoding="utf-8").rstrip())
        return EXIT_OK

    return exit_code(write)


if __name__ == "__main__":
    sys.exit(main())
