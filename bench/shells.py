"""What is seen from outside, on a terminal: the time to the prompt, and to leave."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from statistics import median

from bench.table import Row, milliseconds

TRIES = 9
CURSOR_QUERY = b"\x1b[6n"  # prompt_toolkit asks where the cursor is and waits for the answer
CURSOR_ANSWER = b"\x1b[1;1R"


class Shell:
    """`python -m dw.repl` on a terminal of its own."""

    def __init__(self) -> None:
        self.began = time.perf_counter()
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dw.repl", "--rehearse"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )
        os.close(slave)
        self.seen = b""

    def wait_for(self, pattern: bytes, limit_s: float = 60.0) -> float:
        """Seconds since the start until it was on the screen."""
        give_up = time.perf_counter() + limit_s
        while not re.search(pattern, self.seen):
            if time.perf_counter() > give_up:
                raise TimeoutError(f"{pattern!r} is not in {self.seen!r}")
            self.read()
        return time.perf_counter() - self.began

    def read(self) -> None:
        """What the screen shows next, answered as a terminal does."""
        if not select.select([self.master], [], [], 0.005)[0]:
            return
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux's way to say that nobody holds the other end
            self.process.wait(10)
            return
        self.seen += data
        if CURSOR_QUERY in data:
            os.write(self.master, CURSOR_ANSWER)

    def type(self, line: str) -> None:
        self.seen = b""
        os.write(self.master, f"{line}\r".encode())

    def leave(self) -> float:
        """Seconds from `exit` to the end of the process."""
        self.type("exit")
        began = time.perf_counter()
        while self.process.poll() is None:
            self.read()
        os.close(self.master)
        return time.perf_counter() - began


def _import(module: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
    return time.perf_counter() - began


def prompt_and_exit() -> list[Row]:
    prompts, imports, exits = [], [], []
    for _ in range(TRIES):
        shell = Shell()
        prompts.append(shell.wait_for(rb"dw>"))
        shell.type("load test")
        shell.wait_for(rb"height")
        shell.type("run")
        shell.wait_for(rb"time\(s\)")
        exits.append(shell.leave())
        imports.append(_import("prompt_toolkit"))
    ratio = median(p / i for p, i in zip(prompts, imports, strict=True))
    return [
        Row(
            "start to prompt",
            f"{milliseconds(median(prompts))} ({ratio:.1f}x)",
            f"`import prompt_toolkit` {milliseconds(median(imports))}",
            "≤ 250 ms, ≤ 3x",
        ),
        Row("`exit` with a warm worker", milliseconds(median(exits)), "", "≤ 300 ms"),
    ]


MEASURES = (prompt_and_exit,)
