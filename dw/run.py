"""`python -m dw.run WORKFLOW [name=value ...]`: run one workflow and leave."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    from dw.repl.app import run_main

    return run_main(argv)


if __name__ == "__main__":
    sys.exit(main())
