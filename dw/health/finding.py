"""A finding: what one check of this machine has seen, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "failed"]
"""A warning lets work begin that may fail or be slow; what failed would fail each time."""


@dataclass(frozen=True, slots=True)
class Finding:
    name: str
    state: State
    found: str
    remedy: str = ""


def worst(findings: Iterable[Finding]) -> State:
    states = {finding.state for finding in findings}
    return "failed" if "failed" in states else "warning" if "warning" in states else "ok"
