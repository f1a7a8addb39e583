"""The device: what torch says of it. Asked in a process of its own, which a broken driver may end.

torch is imported there only, so that `dw doctor` answers where it cannot be imported.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dw.health.finding import Finding
from dw.sizes import size_in_words

PATIENCE_S = 60.0
LITTLE_MEMORY = 2 * 10**9  # bytes
_WHEELS = "install torch for this machine's device: https://pytorch.org/get-started/locally"
_DRIVER = "install the driver of the GPU; in a container: docker run --gpus all"


def check_device(wanted: str) -> Iterator[Finding]:
    """Whether the device that the settings name (auto, cuda, cuda:N, mps, cpu) can be used."""
    facts, error = _facts()
    if facts is None:
        remedy = "python -c 'import torch'   shows the whole error"
        yield Finding("torch", "failed", f"cannot be imported: {error}", remedy)
        return
    yield from judged(facts, wanted)


def judged(facts: Mapping[str, Any], wanted: str) -> Iterator[Finding]:
    """What the facts of `probe` mean for the wanted device."""
    built = f"torch {facts['torch']} for {facts['built_for']}"
    gpus = facts["gpus"]
    kind, _, index = wanted.partition(":")
    if kind == "cuda" or (kind == "auto" and facts["built_for"] != "CPU"):
        number = int(index) if index.isdecimal() else 0
        if number < len(gpus):
            shown = gpus[number : number + 1] if kind == "cuda" else gpus
            yield from (found for gpu in shown for found in _gpu(gpu, facts["architectures"]))
            return
        why = facts["why_no_gpu"] or f"there is no GPU {number}"
        if kind == "cuda":
            remedy = _WHEELS if facts["built_for"] == "CPU" else _DRIVER
            yield Finding("device", "failed", f"{wanted}: {built}: {why}", remedy)
        else:
            yield Finding("device", "warning", f"{built}; {why}; the CPU is used", _DRIVER)
    elif kind == "mps" and not facts["has_mps"]:
        yield Finding("device", "failed", f"mps: {built} sees no such device", _WHEELS)
    else:
        name = "mps" if kind != "cpu" and facts["has_mps"] else "cpu"
        yield Finding("device", "ok", f"{name}, {built}")


def _gpu(gpu: Mapping[str, Any], architectures: list[str]) -> Iterator[Finding]:
    name, capability = gpu["name"], gpu["capability"]
    if "error" in gpu:
        yield Finding("device", "failed", f"{name} cannot be used: {gpu['error']}", _DRIVER)
        return
    own = "".join(map(str, capability))
    # A wheel's code for an older architecture of the same generation runs, newer code does not.
    fits = any(
        arch.rpartition("_")[2][:-1] == own[:-1] and arch.rpartition("_")[2] <= own
        for arch in architectures
        if arch.startswith("sm_")
    ) or any(arch.startswith("compute_") and int(arch[8:]) <= int(own) for arch in architectures)
    if not fits:
        known = ", ".join(architectures)
        found = f"{name} is sm_{own}, and this torch has code for {known}"
        yield Finding("device", "failed", found, _WHEELS)
        return
    free = f"{size_in_words(gpu['free'])} free of {size_in_words(gpu['total'])}"
    is_full = gpu["free"] < LITTLE_MEMORY
    remedy = "nvidia-smi   shows what fills it" if is_full else ""
    yield Finding("device", "warning" if is_full else "ok", f"{name}, {free}", remedy)


def _facts() -> tuple[dict[str, Any] | None, str]:
    """What `probe` prints, or why it prints nothing."""
    command = [sys.executable, "-P", str(Path(__file__).with_name("probe.py"))]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {PATIENCE_S:.0f} s"
    if done.returncode < 0:
        return None, f"the process ended by signal {-done.returncode}"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts, ""
