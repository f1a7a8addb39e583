"""Artifacts: the single images, videos, audio, texts and mappings in the results of steps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from diffusers.utils import BaseOutput
from PIL import Image

from dw.engine.media.audio import Audio, as_audio
from dw.engine.media.image import as_image
from dw.engine.media.video import Video
from dw.errors import RunFailed
from dw.workflow.references import split_previous_result

RATE, FPS = "audio_sample_rate", "frame_rate"
"""The attributes of a pipeline's output with the sample rate of its audio and the frame rate of the
videos that belong to it."""

ATTRIBUTES = ("images", "image", "image_embeds", "image_embeddings", "frames", "texts")
"""The attributes of a pipeline's output that hold artifacts; the first that is there counts."""


def artifacts(result: Any) -> list[Any]:
    """The single artifacts of a result: images, videos, audio, texts, mappings.

    Frames that came with audio are videos, one for each member of the batch.
    """
    if isinstance(result, Video | Audio):
        return [result]
    for name in ATTRIBUTES:
        if (found := getattr(result, name, None)) is not None:
            if name == "frames":
                return _videos(found, getattr(result, "audio", None), result)
            return list(found)
    if (found := getattr(result, "prediction", None)) is not None:  # Marigold's maps
        is_signed = "Normals" in type(result).__name__
        return [_map(each, is_signed=is_signed) for each in found]
    if (found := getattr(result, "audios", None)) is not None:
        return [as_audio(each, getattr(result, RATE, None)) for each in found]
    if (found := getattr(result, "video", None)) is not None:  # Cosmos makes one video at a time
        audio = getattr(result, "sound", None)
        return _videos([found], None if audio is None else [audio], result)
    if isinstance(result, Mapping) and result.get("videos") is not None:  # of a modular pipeline
        rest = dict(result)
        videos = list(rest.pop("videos"))
        if (audios := rest.pop("audio", None)) is not None:
            videos = _paired(videos, audios, rest.pop("sampling_rate", None), None)
        return [*videos, rest] if rest else videos
    if isinstance(result, Mapping) and isinstance(result.get("images"), list):
        rest = {name: value for name, value in result.items() if name != "images"}
        return [*result["images"], rest] if rest else list(result["images"])
    return list(result) if isinstance(result, list) else [result]


def _map(values: Any, *, is_signed: bool) -> Image.Image:
    """A map of Marigold, (height, width, channels) or as a tensor (channels, height, width): one of
    a single channel as a grey of 16 bits, as its authors save it; normals from -1 to 1 as colours.
    """
    if isinstance(values, torch.Tensor):
        values = values.float().cpu().movedim(0, -1).numpy()
    values = ((values + 1) / 2 if is_signed else values).clip(0, 1)
    if values.shape[-1] == 1:
        values = (values * 65535).round().astype(np.uint16)
    return as_image(values)


def _videos(videos: Iterable[Any], audios: Iterable[Any] | None, output: Any) -> list[Any]:
    if audios is None:
        return list(videos)
    return _paired(videos, audios, getattr(output, RATE, None), getattr(output, FPS, None))


def _paired(
    videos: Iterable[Any], audios: Iterable[Any], rate: int | None, fps: float | None
) -> list[Any]:
    """Videos with the audio of their batch: (batch, channels, samples)."""
    pairs = zip(videos, audios, strict=True)
    return [Video(frames, as_audio(audio, rate), fps) for frames, audio in pairs]


class Results:
    """The results of past steps, as long as a later step needs them."""

    def __init__(self, steps: Iterable[str]) -> None:
        self._names = tuple(steps)
        self._results: dict[str, list[Any]] = {}

    def keep(self, step: str, results: list[Any]) -> None:
        self._results[step] = results

    def retain(self, references: Iterable[str]) -> None:
        """Drop every result to which none of the `previous_result:` references refers."""
        needed = {self._step_and_property(text)[0] for text in references}
        self._results = {name: found for name, found in self._results.items() if name in needed}

    def values(self, reference: str) -> list[Any]:
        """The values of `previous_result:STEP` or `previous_result:STEP.PROPERTY`, one for each
        iteration.

        Raises RunFailed when a result lacks the property.
        """
        step, name = self._step_and_property(reference)
        results = self._results[step]
        if name is None:
            return [artifact for result in results for artifact in artifacts(result)]
        values = []
        for result in results:
            if isinstance(result, Mapping) and name in result:
                values.append(result[name])
            elif isinstance(result, BaseOutput) or not isinstance(result, Mapping):
                # A plain mapping may lack the property; the output of a pipeline must have it.
                value = getattr(result, name, None)
                if value is None or callable(value):
                    raise RunFailed(f"the result of step {step!r} has no {name!r}")
                values.append(value)
        return values

    def first(self, reference: str) -> Any:
        """The first of these values. Raises RunFailed when they are empty."""
        for value in self.values(reference):
            return value
        raise RunFailed(f"{reference!r} is empty")

    def _step_and_property(self, reference: str) -> tuple[str, str | None]:
        found = split_previous_result(reference, self._names)
        if found is None:
            raise RunFailed(f"{reference!r} names an unknown step")
        return found


def on_host(result: Any) -> Any:
    """The same result with its tensors in host memory, so that it takes no memory of the device."""
    if isinstance(result, torch.Tensor):
        return result.cpu()
    if isinstance(result, Mapping):
        for name, value in result.items():
            if isinstance(value, torch.Tensor):
                result[name] = value.cpu()  # type: ignore[index]
    return result
