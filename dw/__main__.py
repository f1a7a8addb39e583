"""`python -m dw` and the console script `dw`: the shell, or with one of their names the others.

The worker is spawned, which imports this module again in the new process: it must stay this light.
"""

from __future__ import annotations

import sys
from importlib import import_module

PROGRAMS = {
    "rehearse": "dw.rehearse",
    "run": "dw.run",
    "schema": "dw.schema",
    "validate": "dw.validate",
}
"""The first word of a command line, and the module whose `main` takes the rest of it."""


def main() -> int:
    name = PROGRAMS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if name is None:
        from dw.repl.app import main as shell

        return shell()
    code: int = import_module(name).main(sys.argv[2:])
    return code


if __name__ == "__main__":
    sys.exit(main())
