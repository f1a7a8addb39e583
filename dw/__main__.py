"""`python -m dw`, the same as `python -m dw.repl`."""

from __future__ import annotations

import sys

from dw.repl.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
