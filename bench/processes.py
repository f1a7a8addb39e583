"""Whole processes: from nothing to the first image on the disk."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from statistics import median

from bench.table import Row, seconds

TRIES = 5


def run(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def first_image() -> list[Row]:
    folder = os.environ["DW_OUTPUT_DIR"]
    ours, bare = [], []
    for _ in range(TRIES):
        ours.append(run("dw.run", "examples/test.json", "--rehearse"))
        bare.append(run("bench.bare", folder))
    ratio = median(a / b for a, b in zip(ours, bare, strict=True))
    return [
        Row(
            "start to first image saved, whole process",
            f"{seconds(median(ours))} ({ratio:.2f}x)",
            f"bare script {seconds(median(bare))}",
            "≤ the bare script",
        )
    ]


MEASURES = (first_image,)
