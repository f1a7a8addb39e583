"""The command line, `dw` and `python -m dw`: the shell, or with a program's name that program.

Only the module of the chosen program is imported. The worker is spawned, which imports this module
again in the new process: it must stay this light.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module


def main(argv: Sequence[str] | None = None) -> int:
    from dw.programs import PROGRAMS, misspelt_program, report
    from dw.terminal.renderer import Stream

    if os.getpid() == 1:
        from dw.console.init import become_init

        become_init()
    words = sys.argv[1:] if argv is None else list(argv)
    if words and (program := PROGRAMS.get(words[0])):
        code: int = import_module(program.module).main(words[1:])
        return code
    if words and (error := misspelt_program(words[0])):
        return report(error, Stream(sys.stderr, is_optional=True))
    from dw.repl.app import main as shell

    return shell(words)


if __name__ == "__main__":
    sys.exit(main())
