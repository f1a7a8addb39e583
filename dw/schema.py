"""`python -m dw.schema`: the JSON Schema of workflow files, for editors."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from dw.errors import EXIT_OK, EXIT_SIGPIPE
from dw.terminal.renderer import OutputClosed, Stream

FILE = Path(__file__).parent / "workflow" / "schema.json"
"""Made from the models by docs/generate.py."""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "dw schema", description="Print the JSON Schema of workflow files."
    )
    parser.parse_args(argv)
    try:
        Stream(sys.stdout).line(FILE.read_text(encoding="utf-8").rstrip())
    except OutputClosed:
        return EXIT_SIGPIPE
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main())
