"""`python -m dw.run WORKFLOW [name=value ...]`: run one workflow and leave."""

from __future__ import annotations

import sys


def main() -> int:
    from dw.repl.app import run_main

    return run_main()


if __name__ == "__main__":
    sys.exit(main())
