"""The rows that a benchmark gives, and their table."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured, its value, the one it is held against, and what it should be."""

    what: str
    dw: str
    bare: str
    goal: str


def table(rows: list[Row]) -> str:
    lines = ["| | dw | to compare | goal |", "| --- | --- | --- | --- |"]
    lines += [f"| {row.what} | {row.dw} | {row.bare} | {row.goal} |" for row in rows]
    return "\n".join(lines) + "\n"


def seconds(value: float) -> str:
    return f"{value:.2f} s"


def milliseconds(value_s: float) -> str:
    return f"{1000 * value_s:.1f} ms"


def machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers"))
    machine = f"{os.cpu_count()} CPU cores, {platform.system()}"
    return f"{machine}, Python {platform.python_version()}, {packages}"
