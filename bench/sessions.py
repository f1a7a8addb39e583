"""One session with a worker: warm runs, edits, cancels, deaths, and fifty runs in a row."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import psutil

import dw.repl.commands.all  # noqa: F401  # fills the registry
from bench.table import Row, milliseconds, seconds
from dw.events import Died, Event, Executing, Loaded, Run, RunCancelled, Stepped
from dw.repl.session import Session
from dw.settings import load_settings
from dw.terminal.plain import PlainRenderer
from dw.terminal.renderer import Stream
from dw.worker.client import LocalWorkerClient

EXAMPLES = Path("examples")
WARM_RUNS = 30
MANY_RUNS = 50


class Bare:
    """A warm bare pipeline in a process of its own, called when asked."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.bare", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._answer()

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def call(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def open_session() -> Session:
    settings = load_settings().changed("rehearse", "on")
    silence = Stream(io.StringIO())
    return Session(LocalWorkerClient(settings), PlainRenderer(silence, silence), settings)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def warm_runs_and_edits() -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "test.json"
        file.write_text((EXAMPLES / "test.json").read_text())
        session, bare = open_session(), Bare()
        session.execute(f"load {file}")
        session.execute("run")
        session.execute("run")
        ours, calls, edits = [], [], []
        for number in range(WARM_RUNS):
            ours.append(timed(lambda: session.execute("run")))
            calls.append(bare.call())
            file.write_text(_edited(file.read_text(), number))
            edits.append(timed(lambda: session.execute("run")))
        bare.close()
        session.client.close()
    over = median(a - b for a, b in zip(ours, calls, strict=True))
    edited = median(a - b for a, b in zip(edits, ours, strict=True))
    return [
        Row(
            "warm run, command to prompt, over the bare call",
            f"+{milliseconds(over)}",
            f"bare call {milliseconds(median(calls))}",
            "≤ +20 ms",
        ),
        Row(
            "the same after an edit that changes no model",
            f"+{milliseconds(edited)} more",
            f"warm run {milliseconds(median(ours))}",
            "≤ +15 ms",
        ),
    ]


def _edited(text: str, number: int) -> str:
    document = json.loads(text)
    document["description"] = f"edit {number}"
    return json.dumps(document, indent=1 + number % 4)


# ------------------------------------------------------------------ cancels, deaths, switches


def a_run(client: LocalWorkerClient, name: str, arguments: dict[str, object]) -> Run:
    path = EXAMPLES / f"{name}.json"
    output_dir = os.environ["DW_OUTPUT_DIR"]
    return Run(
        client.next_id(),
        str(path.absolute()),
        path.read_text(),
        arguments,
        output_dir,
        rehearse=True,
    )


def times_of(
    client: LocalWorkerClient, run: Run, act: Callable[[Event], None]
) -> dict[type, float]:
    """When each kind of event came last."""
    times: dict[type, float] = {}
    for event in client.submit(run):
        times[type(event)] = time.perf_counter()
        act(event)  # type: ignore[arg-type]
    return times


def cancel_latency() -> list[Row]:
    client = LocalWorkerClient(load_settings())
    steps = 100
    long_run = {"num_inference_steps": steps}
    client.submit(a_run(client, "test", long_run)).result()
    run = a_run(client, "test", long_run)
    moments: dict[int, float] = {}

    def note(event: Event) -> None:
        if isinstance(event, Stepped):
            moments[event.done] = time.perf_counter()

    times_of(client, run, note)
    step_s = (max(moments.values()) - min(moments.values())) / (max(moments) - min(moments))
    latencies = []
    for _ in range(20):
        run = a_run(client, "test", long_run)
        asked: list[float] = []

        def cancel(event: Event, run: Run = run, asked: list[float] = asked) -> None:
            if isinstance(event, Stepped) and event.done >= 10 and not asked:
                asked.append(time.perf_counter())
                client.cancel(run.run_id)

        times = times_of(client, run, cancel)
        latencies.append(times[RunCancelled] - asked[0])
    client.close()
    return [
        Row(
            "Ctrl-C in mid-run to prompt, models kept",
            milliseconds(median(latencies)),
            f"one step {milliseconds(step_s)}",
            "≤ one step + 50 ms",
        )
    ]


def death_latency() -> list[Row]:
    client = LocalWorkerClient(load_settings())
    latencies = []
    for _ in range(5):
        killed: list[float] = []

        def kill(event: Event, killed: list[float] = killed) -> None:
            if isinstance(event, Stepped) and not killed:
                killed.append(time.perf_counter())
                os.kill(client.status().pid or 0, signal.SIGKILL)

        run = a_run(client, "test", {"num_inference_steps": 500})
        times = times_of(client, run, kill)
        latencies.append(times[Died] - killed[0])
    client.close()
    return [
        Row(
            "worker killed in mid-run to error shown",
            milliseconds(median(latencies)),
            "",
            "≤ 0.5 s",
        )
    ]


def switch() -> list[Row]:
    """From the first command of another workflow to its execution, less the load itself."""
    client = LocalWorkerClient(load_settings())
    over = []
    for number in range(6):
        name = ("test", "sdxl")[number % 2]
        small = {} if name == "test" else {"num_inference_steps": 2, "width": 64, "height": 64}
        while client.status().standby_pid is None:  # a user takes longer to type
            time.sleep(0.1)
        time.sleep(6.0)  # its imports, with nothing else to do
        began = time.perf_counter()
        client.stop()
        load_s: list[float] = []

        def note(event: Event, load_s: list[float] = load_s) -> None:
            if isinstance(event, Loaded):
                load_s.append(event.seconds)

        times = times_of(client, a_run(client, name, small), note)
        over.append(times[Executing] - began - load_s[0])
    client.close()
    return [
        Row("switch of workflow to first step, over the load", seconds(median(over)), "", "≤ 0.3 s")
    ]


def fifty_runs() -> list[Row]:
    session = open_session()
    session.execute(f"load {EXAMPLES / 'test.json'}")
    for _ in range(10):
        session.execute("run")
    while session.client.status().standby_pid is None:  # it has descriptors of its own
        time.sleep(0.1)
    shell, worker = psutil.Process(), psutil.Process(session.client.status().pid)
    before = _footprint(shell, worker)
    for _ in range(MANY_RUNS):
        session.execute("run")
    after = _footprint(shell, worker)
    session.client.close()
    fds, threads, rss = (b - a for a, b in zip(before, after, strict=True))
    return [
        Row(
            f"{MANY_RUNS} runs: growth of descriptors, threads, memory of shell and worker",
            f"{fds:+d}, {threads:+d}, {rss / 2**20:+.1f} MB",
            "",
            "0, 0, within 20 MB",
        )
    ]


def _footprint(*processes: psutil.Process) -> tuple[int, int, int]:
    return (
        sum(process.num_fds() for process in processes),
        sum(process.num_threads() for process in processes),
        sum(process.memory_info().rss for process in processes),
    )


MEASURES = (warm_runs_and_edits, cancel_latency, death_latency, switch, fifty_runs)
