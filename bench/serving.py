"""What `dw serve` adds to its workers: the rate of jobs, the latency of one, and its memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection, HTTPException
from statistics import median, quantiles

from bench.table import Row, milliseconds

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
        seconds = []
        with closing(self.connect()) as connection:
            for _ in range(count):
                began = time.perf_counter()
                connection.request(
                    "POST", self._path, self._body, {"content-type": "application/json"}
                )
                answer = connection.getresponse()
                text = answer.read()
                seconds.append(time.perf_counter() - began)
                assert answer.status == 200, text
        return seconds

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
            for each, seconds in zip((ours, bare), singles, strict=True):
                seconds += each.calls(50)
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


def _p50_and_p99(seconds: list[float]) -> tuple[float, float]:
    return median(seconds), quantiles(seconds, n=100)[98]


MEASURES: tuple[Callable[[], list[Row]], ...] = (rate_and_latency,)


if __name__ == "__main__":
    from bench.table import table

    print(table([row for measure in MEASURES for row in measure()]))
