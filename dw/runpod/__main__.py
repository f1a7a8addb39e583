"""`python -m dw.runpod`, the same as `dw runpod`."""

from __future__ import annotations

import sys

from dw.runpod.program import main

if __name__ == "__main__":
    sys.exit(main())
