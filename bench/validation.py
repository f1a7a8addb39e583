"""How long it takes to find everything that is wrong in a workflow, the imports done."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from bench.table import Row, milliseconds

EXAMPLES = sorted((Path(__file__).parent.parent / "examples").rglob("*.json"))


def validations() -> list[Row]:
    """All stages, each example once, as in a process that has checked none of them before."""
    from dw.engine import Engine
    from dw.workflow import validate_file

    engine, seconds = Engine(), []
    for path in EXAMPLES:
        began = time.perf_counter()
        result = validate_file(path)
        assert result.document is not None
        engine.check(result.document)
        seconds.append(time.perf_counter() - began)
    what = f"validation of one of {len(EXAMPLES)} examples, median (worst)"
    dw = f"{milliseconds(median(seconds))} ({milliseconds(max(seconds))})"
    return [Row(what, dw, "", "≤ 500 ms")]


MEASURES = (validations,)
