"""Footprint: how much of a device's memory models will take, from the headers of their files.
Nothing is loaded."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dw.engine.device import Device
from dw.engine.memory.out_of_memory import NO_SMALLER, QUANTIZED, largest, savings, size_in_words
from dw.engine.models.cache import LoadItem, StepRequirement
from dw.engine.models.component_files import weight_files
from dw.engine.models.spec import ComponentSpec
from dw.engine.models.task_models import TaskModels
from dw.engine.models.weights_file import header

VISITS = ("model", "on_demand")
"""Offloads that bring a whole model to the device; the others bring a small part at a time."""

_FLOATS = {"F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2"}


@dataclass(frozen=True, slots=True)
class Weights:
    """The weights of one component as they will be in memory. `is_exact`: they take `nbytes`, not
    less."""

    label: str
    spec: ComponentSpec
    need: StepRequirement
    nbytes: int
    is_exact: bool

    @property
    def dtypes(self) -> frozenset[torch.dtype | None]:
        return frozenset({self.spec.dtype})

    @property
    def offload(self) -> str | None:
        return None if self.spec.placement is None else self.spec.placement.offload


@dataclass(frozen=True)
class Footprint:
    """The weights that will be loaded to one device."""

    device: Device
    weights: tuple[Weights, ...]

    @classmethod
    def of(cls, loads: Iterable[LoadItem], device: Device) -> Footprint:
        found: dict[Any, Weights] = {}
        for load in loads:
            spec = load.spec
            if spec is not None and spec.placement and spec.placement.device == device.spec:
                # The parts of a single file are read together.
                key = spec if spec.part is None else spec.source
                found.setdefault(key, _weights(load, spec))
        return cls(device, tuple(found.values()))

    @property
    def exact(self) -> list[Weights]:
        return [each for each in self.weights if each.is_exact]

    def has_room(self) -> bool:
        """Whether they fit into what is free, even if none turns out to be smaller."""
        most = _at_once(self.weights)
        return not most or most <= self.device.memory().free  # which takes a while on a CPU

    def overflow(self, *, ever: bool = False) -> str | None:
        """Why they do not fit into what is free, or into the whole device (`ever`), and the
        smallest change that makes them fit.

        None when they fit, or when that is unknown: what is quantized, cast or cut while it is
        loaded counts as nothing.
        """
        if not (needed := _at_once(self.exact)):
            return None
        room = self.device.capacity() if ever else self.device.memory().free
        if room is None or needed <= room:
            return None
        # Each change to the workflow with about the bytes that it saves. None is known for the
        # models of tasks.
        changes: list[tuple[str, int]] = []
        if held := [each for each in self.exact if each.need.pipeline.cls is not TaskModels]:
            changes += savings(held, has_host=self.device.kind == "cuda")
            changes.append((QUANTIZED, sum(each.nbytes for each in held) * 3 // 4))
        fitting = (change for change, saved in changes if saved >= needed - room)
        return (
            f"the weights take {size_in_words(needed)} on {self.device.spec}, "
            f"which has {size_in_words(room)}{'' if ever else ' free'}: {largest(self.exact)}; "
            f"would fit: {next(fitting, NO_SMALLER)}"
        )


def _at_once(weights: Iterable[Weights]) -> int:
    """Bytes on the device at one time: all that stays there, and the largest that visits it."""
    known = [(each.nbytes, each.offload) for each in weights]
    resident = sum(nbytes for nbytes, offload in known if offload is None)
    return resident + max((nbytes for nbytes, offload in known if offload in VISITS), default=0)


def _weights(load: LoadItem, spec: ComponentSpec) -> Weights:
    pickles = dict(spec.options).get("use_safetensors") is False
    files = weight_files(spec.source, spec.variant, cls=spec.cls, pickles=pickles)
    config = spec.source / "config.json"
    # What was quantized before it was saved stays as it is.
    is_quantized = config.is_file() and "quantization_config" in json.loads(config.read_bytes())
    nbytes = sum(_bytes(file, None if is_quantized else spec.dtype) for file in files)
    # Exact unless they are quantized, cast or cut while they are loaded, or are a part of a file,
    # or in a file without a header.
    is_packed = spec.source.suffix == ".gguf"  # and stays so in memory
    is_shrunk = any(change.name != "compile" for change in spec.changes)
    is_read_as_it_is = (spec.quantization is None or is_packed) and not is_shrunk
    have_headers = all(file.suffix in (".safetensors", ".gguf") for file in files)
    is_exact = have_headers and is_read_as_it_is and spec.part is None
    return Weights(load.label, spec, load.need, nbytes, is_exact)


def _bytes(file: Path, dtype: torch.dtype | None) -> int:
    """What the weights in a file take in memory as `dtype`, or as they are stored; nothing when its
    header is broken."""
    if file.suffix != ".safetensors":
        return file.stat().st_size
    with suppress(LookupError, TypeError, ValueError):
        return sum(_tensor_bytes(entry, dtype) for entry in header(file).values())
    return 0


def _tensor_bytes(entry: Any, dtype: torch.dtype | None) -> int:
    if dtype is not None and entry["dtype"] in _FLOATS:
        return int(math.prod(entry["shape"])) * dtype.itemsize
    begin, end = entry["data_offsets"]
    return int(end - begin)
