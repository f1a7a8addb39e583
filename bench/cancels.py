"""How soon a cancel takes effect: from the request, in another thread, until the engine could run
again."""

from __future__ import annotations

import gc
import random
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from bench.table import Row, milliseconds
from dw.rehearsal import stand_in
from dw.workflow import Document, parse_document

if TYPE_CHECKING:
    from dw.engine import Engine, RunControl

FAMILIES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline")
SIDE, STEPS = 384, 20  # pixels; a step of a stand-in takes about 15 ms
TRIES = 20
WORKFLOW = """{"id": "bench", "steps": [{"name": "gen", "pipeline": {
    "configuration": {"component_type": "%s"},
    "from_pretrained_arguments": {"model_name": "%s"},
    "arguments": {"prompt": "a fox", "num_inference_steps": %d, "width": %d, "height": %d}}}]}"""


class Silence:
    """An observer to whom nothing matters."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: None


class Cancels:
    """Runs of one workflow in this process, cancelled from another thread."""

    def __init__(self, engine: Engine, family: str, folder: Path) -> None:
        self._engine = engine
        self._document = _document(family, folder)
        self._folder = folder

    def run(self, control: RunControl) -> None:
        self._engine.run(
            self._document,
            arguments={},
            seed=7,
            output_dir=self._folder,
            device="cpu",
            rehearse=False,
            trust=False,
            control=control,
            observer=Silence(),
        )

    def timed(self) -> float:
        from dw.engine import RunControl

        began = time.perf_counter()
        self.run(RunControl())
        return time.perf_counter() - began

    def latency(self, delay_s: float) -> float | None:
        """Of a cancel this long after the start; None when the run was over before."""
        from dw.engine import Cancelled, RunControl

        control, asked = RunControl(), []

        def cancel() -> None:
            asked.append(time.perf_counter())
            control.cancel()

        timer = threading.Timer(delay_s, cancel)
        timer.start()
        try:
            self.run(control)
        except Cancelled:
            is_cancelled = True
        else:
            is_cancelled = False
        timer.cancel()
        if not is_cancelled:
            return None
        self._engine.settle()
        return time.perf_counter() - asked[0]

    def latencies(self, longest_s: float, *, cold: bool = False) -> list[float]:
        """Of cancels at random moments within so many seconds from the start."""
        moments, found = random.Random(1), []
        while len(found) < TRIES:
            if cold:
                self._engine.clear()
            latency = self.latency(moments.uniform(0, longest_s))
            if latency is not None:
                found.append(latency)
        return found


def cancel_latencies() -> list[Row]:
    from dw.engine import Engine

    gc.collect()
    gc.freeze()  # as the worker does
    rows = []
    for family in FAMILIES:
        with tempfile.TemporaryDirectory() as folder:
            engine = Engine()
            cancels = Cancels(engine, family, Path(folder))
            cancels.timed()  # with its imports
            engine.clear()
            cold_s = cancels.timed()
            warm_s = min(cancels.timed() for _ in range(3))
            rows += [
                _row(f"cancel of {family} at any moment", cancels.latencies(warm_s), warm_s),
                _row(
                    f"cancel of {family} while it loads",
                    cancels.latencies(max(0.01, cold_s - warm_s), cold=True),
                    warm_s,
                ),
            ]
            engine.clear()
    return rows


def _row(what: str, latencies: list[float], run_s: float) -> Row:
    step_s = run_s / STEPS
    return Row(
        f"{what}, median (worst)",
        f"{milliseconds(median(latencies))} ({milliseconds(max(latencies))})",
        f"one step {milliseconds(step_s)}",
        "≤ one step + 50 ms",
    )


def _document(family: str, folder: Path) -> Document:
    model = stand_in(family, "")
    text = WORKFLOW % (family, model, STEPS, SIDE, SIDE)
    return parse_document(text, folder / "bench.json", allowed=[model])


MEASURES = (cancel_latencies,)
