"""`python -m bench.serving`: what `dw serve` adds to its workers, beside a bare FastAPI endpoint.

Its table is kept in serving.md.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from statistics import median, quantiles

import psutil

from bench.processes import run
from bench.sessions import Bare
from bench.table import Row, machine, milliseconds, seconds, table
from dw.jobs.job_request import job_request
from dw.jobs.pool import Slot
from dw.jobs.queue import JobQueue
from dw.jobs.routing import next_group
from dw.jobs.store import JobStore
from dw.jobs.workflow_arguments import OpenWorkflow
from dw.settings import Settings
from dw.types import Permissions
from dw.workflow import load_document

EXAMPLES = Path("examples")
RESULTS = Path(__file__).parent / "serving.md"
MB = 2**20

ROUNDS = 5
CALLERS = 4
JOBS = 200  # in each round
SINGLES = 300  # of one caller, for the latency
MANY = 50_000
FLAT = 2_000


class Client:
    """Calls one endpoint over connections that are kept."""

    def __init__(self, port: int, path: str, body: dict[str, object]) -> None:
        self.port, self._path, self._body = port, path, json.dumps(body)

    def connect(self) -> HTTPConnection:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def calls(self, count: int) -> list[float]:
        """The seconds of each of `count` calls, one after the other."""
        taken = []
        with closing(self.connect()) as connection:
            for _ in range(count):
                began = time.perf_counter()
                connection.request(
                    "POST", self._path, self._body, {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                text = answer.read()
                taken.append(time.perf_counter() - began)
                assert answer.status == 200, text
        return taken

    def rate(self, count: int) -> float:
        """Calls per second of several callers at once."""
        began = time.perf_counter()
        with ThreadPoolExecutor(CALLERS) as pool:
            list(pool.map(self.calls, [count // CALLERS] * CALLERS))
        return count / (time.perf_counter() - began)


@contextmanager
def started(*command: str, port: int, environment: dict[str, str] | None = None) -> Iterator[int]:
    """The id of a server's process, when the server answers."""
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**os.environ, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while not _answers(port):
            assert process.poll() is None
            time.sleep(0.01)
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _answers(port: int) -> bool:
    try:
        with closing(HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
            connection.request("GET", "/livez")
            connection.getresponse()
            return True
    except (OSError, HTTPException):
        return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def quick_server(*options: str, program: str = "bench.quick_server") -> Iterator[tuple[int, int]]:
    """The port and the process id of `dw serve` in a folder of its own."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DW_OUTPUT_DIR": folder, "DW_STANDBY": "off"}
        state = ("--port", str(port), "--state", folder, "--workflows", "examples", *options)
        with started(program, *state, port=port, environment=settings) as pid:
            yield port, pid


def rate_and_latency() -> list[Row]:
    body: dict[str, object] = {"workflow": "shapes", "arguments": {"prompt": "a red circle"}}
    bare_port = free_port()
    with ExitStack() as stack:
        port, _ = stack.enter_context(quick_server())
        stack.enter_context(started("bench.bare_server", str(bare_port), port=bare_port))
        ours = Client(port, "/generate", body)
        bare = Client(bare_port, "/generate", {"prompt": "a red circle"})
        for each in (ours, bare):
            each.calls(50)
        rates = [(ours.rate(JOBS), bare.rate(JOBS)) for _ in range(ROUNDS)]
        singles: tuple[list[float], list[float]] = ([], [])
        for _ in range(SINGLES // 50):
            for each, taken in zip((ours, bare), singles, strict=True):
                taken += each.calls(50)
    ratio = median(a / b for a, b in rates)
    added = [a - b for a, b in zip(*map(_p50_and_p99, singles), strict=True)]
    return [
        Row(
            f"jobs of 2 ms per second, {CALLERS} callers",
            f"{median(a for a, _ in rates):.0f} ({ratio:.2f}x)",
            f"bare FastAPI endpoint {median(b for _, b in rates):.0f}",
            "≥ 0.9x",
        ),
        Row(
            "latency that the server adds to a job, p50 (p99)",
            f"+{milliseconds(added[0])} (+{milliseconds(added[1])})",
            f"bare FastAPI endpoint {milliseconds(median(singles[1]))}",
            "≤ +8 ms (+25 ms)",
        ),
    ]


def _p50_and_p99(taken: list[float]) -> tuple[float, float]:
    return median(taken), quantiles(taken, n=100)[98]


def memory() -> list[Row]:
    body: dict[str, object] = {"workflow": "shapes", "arguments": {"prompt": "a red circle"}}
    with quick_server() as (port, pid):
        server = psutil.Process(pid)
        idle = server.memory_info().rss
        client = Client(port, "/generate", body)
        client.rate(FLAT // 5)
        before = server.memory_info().rss
        client.rate(FLAT)
        grown = server.memory_info().rss - before
    return [
        Row("memory of an idle server, without its workers", f"{idle / MB:.0f} MB", "", ""),
        Row(f"its growth over {FLAT} jobs", f"{grown / MB:+.1f} MB", "", "within 20 MB"),
    ]


class NoPool:
    slots: Sequence[Slot] = ()

    def close(self) -> None:
        pass


def many_jobs() -> list[Row]:
    """Accepted by the queue, one transaction each."""
    document = load_document(EXAMPLES / "shapes.json", permissions=Permissions())
    request = job_request(OpenWorkflow(document, {"prompt": "a red circle"}))
    with tempfile.TemporaryDirectory() as folder, closing(JobStore(Path(folder) / "db")) as store:
        queue = JobQueue(store, NoPool(), Settings())
        began = time.perf_counter()
        for _ in range(MANY):
            queue.submit(request)
        rate = MANY / (time.perf_counter() - began)
        taken = []
        for _ in range(1000):
            began = time.perf_counter()
            group = next_group(store.backlogs(), loaded=None, elsewhere=(), costs={}, now=0.0)
            assert group is not None
            store.claim(group, "cpu")
            taken.append(time.perf_counter() - began)
        queue.close(0.0)
    return [
        Row(f"jobs accepted per second, up to {MANY}", f"{rate:.0f}", "", ""),
        Row(
            f"a claim with {MANY} waiting, median (p99)",
            f"{milliseconds(median(taken))} ({milliseconds(_p50_and_p99(taken)[1])})",
            "",
            "≤ 1 ms",
        ),
    ]


def runs_on_a_server() -> list[Row]:
    """`dw run --server` with its models loaded there, the whole process."""
    bare = Bare("--shapes")
    with quick_server("--allow-inline", program="dw.serve") as (port, _):
        warm = ("dw.run", "shapes", "-q", "--server", f"http://127.0.0.1:{port}")
        run(*warm)
        ours, calls, cold = [], [], []
        for number in range(10):
            ours.append(run(*warm))
            calls.append(bare.call())
            if number < 3:
                cold.append(run("dw.run", "shapes", "-q"))
    bare.close()
    over = median(a - b for a, b in zip(ours, calls, strict=True))
    return [
        Row(
            "`dw run --server`, warm, over the bare call",
            f"+{milliseconds(over)}",
            f"bare call {milliseconds(median(calls))}",
            "≤ +150 ms",
        ),
        Row(
            "the same beside `dw run`, cold",
            seconds(median(ours)),
            f"cold {seconds(median(cold))}",
            "",
        ),
    ]


MEASURES: tuple[Callable[[], list[Row]], ...] = (
    rate_and_latency,
    memory,
    many_jobs,
    runs_on_a_server,
)


def main() -> int:
    os.environ["DW_WORKFLOW_DIR"] = str(EXAMPLES)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DW_OUTPUT_DIR"] = folder
        text = f"{machine()}\n\n{table([row for measure in MEASURES for row in measure()])}"
    RESULTS.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
