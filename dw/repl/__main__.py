"""The shell as `python -m dw.repl`.

Spawning the worker imports this module again in the new process, so it must stay this light.
"""

from __future__ import annotations

import sys


def main() -> int:
    from dw.repl.app import main as shell

    return shell()


if __name__ == "__main__":
    sys.exit(main())
