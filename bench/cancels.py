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
from typing import TYPE_CHECKING

from PIL import Image

from bench.table import Row, milliseconds
from dw.events import Run
from dw.rehearsal import stand_in
from dw.types import Permissions
from dw.workflow import parse_document

if TYPE_CHECKING:
    from dw.engine import Engine, RunControl

FAMILIES = ("StableDiffusionPipeline", "StableDiffusionXLPipeline", "FluxPipeline")
SIDE, STEPS = 384, 20  # pixels; a step of a stand-in takes about 15 ms
TRIES = 20
WORKFLOW = """{"id": "bench", "steps": [{"name": "gen", "pipeline": {
    "configuration": {"component_type": "%s"},
    "from_pretrained_arguments": {"model_name": "%s"},
    "arguments": {"prompt": "a fox", "num_inference_steps": %d, "width": %d, "height": %d}}}]}"""
DECODE = """{"id": "bench", "steps": [{"name": "gen", "pipeline": {
    "configuration": {"component_type": "StableDiffusionPipeline", "vae": {"enable_tiling": true}},
    "from_pretrained_arguments": {"model_name": "%s"},
    "arguments": {
        "prompt": "a fox", "num_inference_steps": %d, "width": 1024, "height": 1024}}}]}"""
TASK = """{"id": "bench", "steps": [
    {"name": "widths", "task": {"command": "gather_inputs", "inputs": [%s]}},
    {"name": "resize", "task": {"command": "resize_rescale", "arguments": {
        "image": "picture.png", "width": "previous_result:widths", "height": 512}}}]}"""


class Cancels:
    """Runs of one workflow in this process, cancelled from another thread."""

    def __init__(self, engine: Engine, text: str, folder: Path) -> None:
        self._engine = engine
        trusted = Permissions(trust=True)
        self._document = parse_document(text, folder / "bench.json", permissions=trusted)
        self._folder = folder

    def run(self, control: RunControl) -> None:
        path, folder = str(self._document.path), str(self._folder)
        request = Run(0, path, self._document.text, {}, folder, seed=7, device="cpu")
        self._engine.run(self._document, request, control=control, emit=lambda _event: None)

    def timed(self) -> float:
        from dw.engine import RunControl

        began = time.perf_counter()
        self.run(RunControl())
        return time.perf_counter() - began

    def latency(self, delay_s: float, *, in_decode: bool = False) -> float | None:
        """Of a cancel this long after the start; None when the run was over before, or elsewhere
        than in the decode that is asked for."""
        from dw.engine import Cancelled, RunControl

        control, asked = RunControl(), []

        def cancel() -> None:
            asked.append(time.perf_counter())
            control.cancel()

        timer = threading.Timer(delay_s, cancel)
        timer.start()
        try:
            self.run(control)
        except Cancelled as stop:
            is_cancelled = not in_decode or 0 < stop.steps == stop.step
        else:
            is_cancelled = False
        timer.cancel()
        if not is_cancelled:
            return None
        self._engine.recover()
        return time.perf_counter() - asked[0]

    def latencies(
        self, longest_s: float, *, cold: bool = False, in_decode: bool = False
    ) -> list[float]:
        """Of cancels at random moments within so many seconds from the start."""
        moments = random.Random(1)
        found: list[float] = []
        while len(found) < TRIES:
            if cold:
                self._engine.clear()
            latency = self.latency(moments.uniform(0, longest_s), in_decode=in_decode)
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
            text = WORKFLOW % (family, stand_in(family, ""), STEPS, SIDE, SIDE)
            cancels = Cancels(engine, text, Path(folder))
            cancels.timed()  # with its imports
            engine.clear()
            cold_s = cancels.timed()
            warm_s = min(cancels.timed() for _ in range(3))
            rows += [
                _row(
                    f"cancel of {family} at any moment", cancels.latencies(warm_s), warm_s / STEPS
                ),
                _row(
                    f"cancel of {family} while it loads",
                    cancels.latencies(max(0.01, cold_s - warm_s), cold=True),
                    warm_s / STEPS,
                ),
            ]
            engine.clear()
    return rows


def cancel_latencies_outside_of_denoising() -> list[Row]:
    from dw.engine import Engine

    gc.collect()
    gc.freeze()
    engine = Engine()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = stand_in("StableDiffusionPipeline", "")
        decode, longer = (Cancels(engine, DECODE % (model, n), folder) for n in (1, 3))
        whole_s = max(decode.timed() for _ in range(2))
        step_s = (longer.timed() - decode.timed()) / 2
        latencies = decode.latencies(whole_s, in_decode=True)
        in_decode = _row("cancel in a decode of tiles", latencies, step_s)
        Image.effect_noise((512, 512), 90).save(folder / "picture.png")
        task = Cancels(engine, TASK % ", ".join(map(str, range(512, 768))), folder)
        in_task = _row("cancel in a task of 256 images", task.latencies(task.timed()))
    return [in_decode, in_task]


def _row(what: str, latencies: list[float], step_s: float | None = None) -> Row:
    return Row(
        f"{what}, median (worst)",
        f"{milliseconds(median(latencies))} ({milliseconds(max(latencies))})",
        f"one step {milliseconds(step_s)}" if step_s else "",
        "≤ one step + 50 ms" if step_s else "≤ 50 ms",
    )


MEASURES = (cancel_latencies, cancel_latencies_outside_of_denoising)
