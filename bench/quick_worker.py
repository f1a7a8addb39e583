"""A worker whose runs take 2 ms: what is left of a job's time is what the service takes.

It sends the events that a run of four steps sends, through the pipes and the supervisor of a real
one.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from dw import events
from dw.codec import from_bytes, to_bytes
from dw.events import VERSION, Event, Finished, Heartbeat, Ready, Run, Shutdown
from dw.types import Memory, OutputFile
from dw.worker.process.output import DRAINED
from dw.worker.process.resources import rss

HEARTBEAT_S = 0.5  # as a real worker
RUN_S = 0.002
STEPS = 4
IMAGE = b"an image" * 1000
SERVE = "bench.quick_worker:serve"


def draw(prompt: str) -> bytes:
    """What the bare endpoint calls."""
    for _ in range(STEPS):
        time.sleep(RUN_S / STEPS)
    return IMAGE if prompt else b""


def serve(commands: Connection[Any, Any], pipe: Connection[Any, Any]) -> None:
    sending = threading.Lock()
    memory = Memory("CPU", 0, 0, 0, 0, 0)
    digest = hashlib.sha256(IMAGE).hexdigest()
    has_models = False

    def send(event: Event) -> None:
        with sending:
            pipe.send_bytes(to_bytes(event))

    def beat() -> None:
        while True:
            send(Heartbeat(rss()))
            time.sleep(HEARTBEAT_S)

    def run(command: Run) -> Event:
        nonlocal has_models
        n, began = command.run_id, time.perf_counter()
        folder = Path(command.output_dir)
        send(events.Started(n, "quick", command.drawn_seed, str(folder)))
        send(events.Planned(n, "cached", ("draw.unet",), (), ()))
        if not has_models:
            send(events.Loading(n, "draw.unet", "UNet2DConditionModel", 1, 1))
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "image.png").write_bytes(IMAGE)
            has_models = True
        send(events.Loaded(n, "quick", 0.0))
        send(events.Executing(n, "quick"))
        send(events.StepStarted(n, "draw", 1, 1))
        for step in range(1, STEPS + 1):
            time.sleep(RUN_S / STEPS)
            send(events.Stepped(n, "draw", "denoise", step, STEPS))
        output = OutputFile(str(folder / "image.png"), "image/png", len(IMAGE), digest, 64, 64)
        send(events.Produced(n, "draw", output))
        took_s = time.perf_counter() - began
        return Finished(n, "quick", took_s, command.drawn_seed, (output,), memory, str(folder))

    send(Ready(VERSION, os.getpid(), 0.0))
    threading.Thread(target=beat, daemon=True).start()
    while True:
        match from_bytes(commands.recv_bytes()):
            case Run() as command:
                ended = run(command)
                os.write(1, DRAINED)
                send(ended)
            case Shutdown() as command:
                os.write(1, DRAINED)
                send(events.Exited(command.run_id))
                return
            case _:
                pass
