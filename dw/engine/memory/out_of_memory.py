"""Out of memory: what held the memory, and the smallest change that would have fitted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Protocol

import torch

from dw.engine.models.spec import ComponentSpec

TILING = '"vae": {"enable_tiling": true} in the configuration decodes an image in tiles'
HALF = '"torch_dtype": "torch.bfloat16" halves the weights and what is computed from them'
OFFLOAD = '"offload": "model" in the configuration keeps on the device only the model that runs'
LAYERS = '"offload": "sequential" in the configuration keeps there only the layer that runs; slow'
QUANTIZED = '"quantization_config" beside the configuration keeps the weights in 8 or 4 bits'
SMALLER = "a smaller width or height"
NO_SMALLER = "a smaller model"

NAMED = 3  # of the components in memory, the largest; the others hold little
UNITS = {"bytes": 1, "B": 1, "K": 2**10, "M": 2**20, "G": 2**30}


class Held(Protocol):
    """A model that takes memory, or will."""

    @property
    def label(self) -> str: ...
    @property
    def spec(self) -> ComponentSpec: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def dtypes(self) -> frozenset[torch.dtype | None]: ...


@dataclass(frozen=True, slots=True)
class OutOfMemoryReport:
    """What is known of an out-of-memory. `text` is the allocator's message, `free` the bytes that
    were free if that message does not say, `loaded` the components in memory."""

    text: str
    free: int
    loaded: Sequence[Held]
    has_host: bool  # models can be moved from the device's own memory to the host
    decodes_whole: bool  # what failed was decoding an image in one piece

    @property
    def asked(self) -> int | None:
        """Bytes of the allocation that failed, if the allocator says."""
        return _bytes(r"allocate ([\d.]+) ?(\w+)", self.text)

    @property
    def was_free(self) -> int:
        reported = _bytes(r"of which ([\d.]+) ?(\w+) is free", self.text)
        return self.free if reported is None else reported

    @property
    def missing(self) -> int | None:
        """None when unknown: fragments, and limits below what the machine has."""
        if self.asked is None or self.asked <= self.was_free:
            return None
        return self.asked - self.was_free

    def message(self) -> str:
        facts = []
        if self.asked is not None:
            facts.append(f"{size_in_words(self.asked)} more were asked for")
        if self.missing is not None:
            facts.append(f"{size_in_words(self.was_free)} were free")
        if held := largest(self.loaded):
            facts.append(f"held by {held}")
        return f"out of memory: {'; '.join(facts)}".removesuffix(": ")

    def hints(self) -> tuple[str, ...]:
        """The changes that save what was missing, from free ones to those that cost time or pixels.
        All of them when that is unknown, or when no single one is enough."""
        asked = self.asked or 0
        # Each change with about the bytes that it saves.
        changes = [(TILING, asked // 2)] if self.decodes_whole else []
        changes += savings(self.loaded, has_host=self.has_host, computed=asked)
        if self.missing is None:
            return (*(change for change, _ in changes), SMALLER)
        side = int(100 * sqrt(self.was_free / (self.was_free + self.missing)))
        # What is needed grows with the area.
        changes.append((f"{SMALLER}, {side}% of each", self.missing))
        fitting = [change for change, saved in changes if saved >= self.missing]
        return (f"would have fitted: {fitting[0]}", *fitting[1:])


def savings(
    held: Sequence[Held], *, has_host: bool, computed: int = 0
) -> Iterator[tuple[str, int]]:
    """Each change to where and how models are kept, with about the bytes of the device that it
    saves; `computed` are the bytes that their results take."""
    sizes = [each.nbytes for each in held]
    offloads = {each.spec.placement.offload for each in held if each.spec.placement is not None}
    if single := sum(each.nbytes for each in held if torch.float32 in each.dtypes):
        yield HALF, (single + computed) // 2
    if has_host and None in offloads:
        yield OFFLOAD, sum(sizes) - max(sizes)
    if has_host and offloads - {"sequential"}:
        yield LAYERS, sum(sizes)


def largest(held: Sequence[Held]) -> str:
    """The names of the largest, with their sizes."""
    found = sorted((each for each in held if each.nbytes), key=lambda each: -each.nbytes)
    return ", ".join(f"{c.label} ({size_in_words(c.nbytes)})" for c in found[:NAMED])


def _bytes(pattern: str, text: str) -> int | None:
    found = re.search(pattern, text)
    if found is None or (unit := UNITS.get(found[2], UNITS.get(found[2][0]))) is None:
        return None
    return int(float(found[1]) * unit)


def size_in_words(nbytes: int) -> str:
    """As in `7.5 GB` or `20 MB`, of 1024 each."""
    if nbytes >= UNITS["G"]:
        return f"{nbytes / UNITS['G']:.1f} GB"
    return f"{nbytes / UNITS['M']:.0f} MB" if nbytes >= UNITS["M"] else f"{nbytes} bytes"
