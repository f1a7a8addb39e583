"""Media info: the pixels, frames and samples of a result, expected in its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from PIL import Image

CODEC_SAMPLES = 4096
"""Samples that lossy codecs add around audio: AAC and MP3 at most two of their blocks."""


@dataclass(frozen=True, slots=True)
class MediaInfo:
    width: int | None = None
    height: int | None = None
    frames: int | None = None
    samples: int | None = None  # of the audio, per channel
    sample_rate: int | None = None  # Hz
    fps: float | None = field(default=None, compare=False)  # containers round it

    @property
    def seconds(self) -> float | None:
        if self.frames is not None and self.fps:
            return self.frames / self.fps
        if self.samples is not None and self.sample_rate:
            return self.samples / self.sample_rate
        return None

    def fits(self, found: MediaInfo) -> bool:
        """Whether a file with the extent `found` holds all of this one."""
        if self.samples is None or found.samples is None:
            return self == found
        padding = abs(found.samples - self.samples)
        return padding <= CODEC_SAMPLES and replace(self, samples=found.samples) == found


def kind_of(value: Any) -> str:
    """The kind of a value, for messages."""
    if isinstance(value, str):
        return "a text"
    if isinstance(value, Image.Image):
        return "an image"
    if isinstance(value, Mapping):
        return f"a mapping of {', '.join(map(str, value))}"
    if isinstance(value, Sequence):
        return f"a list of {len(value)} {type(value[0]).__name__}s" if value else "an empty list"
    if isinstance(value, np.ndarray | torch.Tensor):
        return f"an array of shape {tuple(value.shape)}"
    name = type(value).__name__.lower()
    return name if name == "audio" else f"a {name}"
