"""`python -m bench`: measure everything beside the bare call, print a table, keep it in results.md.

The work is examples/test.json (a tiny Stable Diffusion, 64 x 64, 4 steps) on stand-ins. What is
compared is taken in turns (A B A B ...), and medians are shown: machines are noisy and drift.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from bench import cancels, checks, previews, processes, sessions, shells, validation
from bench.table import Row, machine, table

RESULTS = Path(__file__).parent / "results.md"


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="dw-bench-") as folder:
        os.environ["DW_OUTPUT_DIR"] = folder
        rows: list[Row] = []
        # torch: in the last
        modules = (shells, processes, sessions, previews, cancels, validation, checks)
        for measure in (m for module in modules for m in module.MEASURES):
            found = measure()
            rows += found
            for row in found:
                print(f"{row.what}: {row.dw}", file=sys.stderr)
    text = f"{machine()}\n\n{table(rows)}"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
