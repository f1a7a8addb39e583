"""Previews: what they add to a run, the same run without them in turns with it."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

from bench.table import Row, milliseconds
from dw.events import Preview, Run, Stepped
from dw.settings import load_settings
from dw.worker.client import LocalWorkerClient

SHAPES = Path("examples/shapes.json")
STEPS = 100
PAIRS = 5
EVERY_S = 1.0


def preview_cost() -> list[Row]:
    client = LocalWorkerClient(load_settings())
    _steps_s(client, None)  # loads
    with_s, without_s, shown = [], [], 0
    for _ in range(PAIRS):
        without_s.append(_steps_s(client, None)[0])
        seconds, count = _steps_s(client, EVERY_S)
        with_s.append(seconds)
        shown += count
    client.close()
    ratio = median(a / b for a, b in zip(with_s, without_s, strict=True))
    return [
        Row(
            f"{STEPS} denoising steps with {shown / PAIRS:.1f} previews, over those without",
            f"{ratio:.3f}x",
            f"one step {milliseconds(median(without_s) / STEPS)}",
            "≤ 1.01x",
        )
    ]


def _steps_s(client: LocalWorkerClient, preview_s: float | None) -> tuple[float, int]:
    """Seconds from the first to the last step, by the worker's clock, and the previews."""
    run = Run(
        client.next_id(),
        str(SHAPES.absolute()),
        SHAPES.read_text(),
        {"num_inference_steps": STEPS},
        os.environ["DW_OUTPUT_DIR"],
        seed=7,
        preview_s=preview_s,
    )
    seen = list(client.submit(run))
    times = [each.time for each in seen if isinstance(each, Stepped) and each.phase == "denoise"]
    return times[-1] - times[0], sum(isinstance(each, Preview) for each in seen)


MEASURES = (preview_cost,)
