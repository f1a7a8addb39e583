"""Mapped files: weights in host memory that are their file itself, and where they are copied
instead.

safetensors maps a file into memory, so that a write to the file is a write to the model. A local
file system shows each write in the file's times, and the end of a run looks there. Others may show
it seconds later, or never: from those, weights are copied. A copy of 500 MB took 0.1 to 0.7 s, and
500 MB of memory that the kernel cannot give to others; so it is not made everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dw.engine.models.fingerprint import Fingerprint
from dw.engine.models.live_models import tensors
from dw.file_systems import TOLD, file_system

MAPS = Path("/proc/self/maps")


def detach(components: Iterable[Any], files: Fingerprint) -> None:
    """Give the components that were just loaded memory of their own where a write to their files
    may stay unseen."""
    paths = {
        os.fsencode(file.path.resolve())
        for file in files.weights
        if (file_system(file.path) or "ext4") not in TOLD
    }
    if not paths:
        return
    ranges = _mapped(paths)
    for component in components:
        for tensor in tensors(component):
            if any(begin <= tensor.data_ptr() < end for begin, end in ranges):
                tensor.data = tensor.data.clone()


def _mapped(paths: set[bytes]) -> list[tuple[int, int]]:
    """Addresses at which files are mapped into this process."""
    ranges = []
    for line in MAPS.read_bytes().splitlines():
        place, *_, path = line.split(None, 5)
        if path in paths:
            begin, end = place.split(b"-")
            ranges.append((int(begin, 16), int(end, 16)))
    return ranges
