"""Previews: what a run denoises, as a small image, while it does so.

The latents are projected to RGB without a VAE (latent_formats.py), which takes a fraction of a
millisecond. Nothing of it reaches the pipeline, so a run with previews makes the same bytes as one
without. The step waits for no copy: on a GPU the pixels are read one step later, when they are
there, and another thread makes a PNG of them.
"""

from __future__ import annotations

import inspect
import io
import threading
import time
from base64 import standard_b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import inf, isqrt, prod
from queue import SimpleQueue
from typing import Any, Protocol

import torch
from PIL import Image

from dw.engine.calls.latent_formats import LatentFormat, latent_format
from dw.engine.python import resolve
from dw.engine.python.signatures import call_parameters
from dw.events import Preview

LARGEST_SIDE = 256
"""In pixels, of a preview. Latents have an eighth of the image's side, so most are smaller."""

MOST_OF_A_STEP = 0.01
"""The share of a denoising step that a preview may take."""

ASSUMED_COST_S = 0.0004
"""Of the first preview of a run, which warms up what the others use. Measured: 0.4 ms for latents
of 4 x 32 x 32 and 0.7 ms for 16 x 128 x 128 on a CPU between other work; on a GPU it is the launch
of some ten kernels."""

_STRAIGHT = frozenset({"FlowMatchEulerDiscreteScheduler", "EulerDiscreteScheduler"})
"""Schedulers whose every step goes straight towards what the model takes for the image, so that two
latents in a row tell it."""


class Previews:
    """Those of one run. `every_s`: at most one in so many seconds; None: none. `count`: so many
    more, at even places among the steps. `emit` is called in a thread of its own, until `close`."""

    def __init__(
        self,
        every_s: float | None,
        count: int,
        emit: Callable[[Preview], None],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.every_s, self.count = every_s, count
        self.clock = clock
        self._emit = emit
        self._encoder: threading.Thread | None = None
        self._given: SimpleQueue[tuple[torch.Tensor, Preview] | None] = SimpleQueue()
        self._is_encoding = False
        self._cost_s = inf  # the least of all so far
        self._made = 0
        self._last = clock()
        self._step = 0  # of the last partial image

    @property
    def are_wanted(self) -> bool:
        return self.every_s is not None or self.count > 0

    def close(self) -> None:
        """Wait for the preview in the making. None comes after it."""
        if self._encoder is not None:
            self._given.put(None)
            self._encoder.join()

    def is_due(self, step: int, steps: int, step_s: float) -> bool:
        """After `step` of `steps`, which took `step_s`."""
        places = (steps * part // (self.count + 1) for part in range(1, self.count + 1))
        if step in places and step != self._step:  # PNDM's first step takes two
            self._step = step
            return True
        cost_s = ASSUMED_COST_S if self._made < 2 else self._cost_s
        return (
            self.every_s is not None
            and self.clock() - self._last >= self.every_s
            and cost_s <= MOST_OF_A_STEP * step_s
            and not self._is_encoding
        )

    def made(self, cost_s: float) -> None:
        """One was made, which took so long of the step."""
        self._made += 1
        self._last = self.clock()
        if self._made > 1:
            self._cost_s = min(self._cost_s, cost_s)

    def send(self, pixels: torch.Tensor, preview: Preview) -> None:
        """Send the preview, with these pixels: (h, w, 3) of uint8 in host memory."""
        if self._encoder is None:
            self._encoder = threading.Thread(target=self._encode, name="previews", daemon=True)
            self._encoder.start()
        self._is_encoding = True
        self._given.put((pixels, preview))

    def _encode(self) -> None:
        """The thread that makes files of pixels."""
        while (given := self._given.get()) is not None:
            pixels, preview = given
            image = standard_b64encode(_png(pixels)).decode()
            self._emit(replace(preview, image=image))
            self._is_encoding = False


class Shower(Protocol):
    """What shows a pipeline's previews: the run."""

    @property
    def previews(self) -> Previews: ...

    def preview(self) -> Preview:
        """One of the step that has just been done, without its image."""

    def warn_once(self, message: str) -> None: ...


@contextmanager
def previewing(pipeline: Any, method: str, shower: Shower) -> Iterator[Mapping[str, Any]]:
    """The arguments that make a call of the pipeline show its previews; none when nobody asked."""
    is_model = resolve.is_from_transformers(type(pipeline))
    if not shower.previews.are_wanted or is_model or method != "__call__":
        yield {}
        return
    known, why = _format_of(pipeline)
    if known is None:
        shower.warn_once(f"no previews of {type(pipeline).__name__}: {why}")
        yield {}
        return
    with _packing(pipeline) as packed:
        yield {"callback_on_step_end": _Denoising(shower, known, packed).stepped}


def _format_of(pipeline: Any) -> tuple[LatentFormat | None, str]:
    """The format of what a pipeline denoises, or why there is none."""
    if resolve.is_modular(type(pipeline)):
        return None, "a modular pipeline does not show its latents"
    is_watched = "callback_on_step_end" in call_parameters(pipeline.__class__)
    if not is_watched or "latents" not in getattr(pipeline, "_callback_tensor_inputs", ()):
        return None, "it does not show its latents"
    vae = getattr(pipeline, "vae", None)
    if vae is None or (known := latent_format(vae)) is None:
        kind = type(vae).__name__ if vae is not None else "no VAE"
        return None, f"the colours of its latents ({kind}) are not known"
    return known, ""


# ------------------------------------------------------------------ one call of a pipeline


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Pixels on their way from the device."""

    pixels: torch.Tensor
    arrived: torch.cuda.Event
    preview: Preview


class _Denoising:
    def __init__(self, shower: Shower, known: LatentFormat, packed: Sequence[_Shape]) -> None:
        self._shower, self._previews = shower, shower.previews
        self._format, self._packed = known, packed
        self._projection: tuple[torch.Tensor, torch.Tensor] | None = None  # on the device
        self._before: torch.Tensor | None = None  # the latents of the step before
        self._waiting: _Waiting | None = None
        self._stepped_at = self._previews.clock()
        self._can_show = True

    def stepped(
        self, pipeline: Any, _index: int, _timestep: Any, tensors: dict[str, Any]
    ) -> dict[str, Any]:
        """diffusers calls it after each step, and takes the tensors that it returns."""
        now = self._previews.clock()
        step_s, self._stepped_at = now - self._stepped_at, now
        self._deliver()
        draft, latents = self._shower.preview(), tensors["latents"]
        if self._can_show and self._previews.is_due(draft.step, draft.steps, step_s):
            # Of the processor, as waits for other processes and threads are no cost of previews.
            began = time.thread_time()
            self._show(pipeline, latents, draft)
            self._previews.made(time.thread_time() - began)
        self._before = latents if type(pipeline.scheduler).__name__ in _STRAIGHT else None
        return tensors

    def _show(self, pipeline: Any, latents: torch.Tensor, draft: Preview) -> None:
        shape = _Shape.of(latents, self._format.channels, self._packed)
        if shape is None:
            self._can_show = False
            kind = "x".join(map(str, latents.shape))
            self._shower.warn_once(
                f"no previews of {type(pipeline).__name__}: its latents are {kind}"
            )
            return
        try:
            grid = shape.grid(latents)
            before = None if self._before is None else shape.grid(self._before)
            rgb = self._rgb(_denoised(grid, before, pipeline.scheduler))
            frame = shape.shown if shape.frames > 1 else None
            preview = replace(
                draft, width=rgb.shape[1], height=rgb.shape[0], frame=frame, frames=shape.frames
            )
            self._send(rgb, preview)
        except torch.OutOfMemoryError:  # where none is left, a preview is not worth the run
            self._can_show = False

    def _rgb(self, grid: torch.Tensor) -> torch.Tensor:
        """(c, h, w) as (h, w, 3) of uint8, on the same device."""
        if self._projection is None:  # to levels from 0 to 255, from colours from -1 to 1
            factors = torch.tensor(self._format.factors, device=grid.device) * 127.5
            bias = torch.tensor(self._format.bias, device=grid.device) * 127.5 + 127.5
            self._projection = factors, bias
        factors, bias = self._projection
        if (side := self._format.patch) > 1:
            grid = torch.nn.functional.pixel_shuffle(grid, side)
        if (shrink := -(-max(grid.shape[1:]) // LARGEST_SIDE)) > 1:
            grid = torch.nn.functional.avg_pool2d(grid, shrink, ceil_mode=True)
        levels = torch.addmm(bias, grid.flatten(1).T, factors).clamp_(0, 255)
        return levels.to(torch.uint8).view(*grid.shape[1:], 3)

    def _send(self, rgb: torch.Tensor, preview: Preview) -> None:
        if rgb.device.type != "cuda":
            self._previews.send(rgb.cpu(), preview)
            return
        pixels = torch.empty(rgb.shape, dtype=rgb.dtype, pin_memory=True)
        pixels.copy_(rgb, non_blocking=True)
        arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
        arrived.record()
        self._waiting = _Waiting(pixels, arrived, preview)

    def _deliver(self) -> None:
        """Send what has arrived. In this thread: another one would break a graph that is being
        recorded."""
        if (waiting := self._waiting) is not None and waiting.arrived.query():  # type: ignore[no-untyped-call]
            self._previews.send(waiting.pixels, waiting.preview)
            self._waiting = None


def _denoised(after: torch.Tensor, before: torch.Tensor | None, scheduler: Any) -> torch.Tensor:
    """What the latents after a step will become, as far as the scheduler tells it at no cost.

    A step of Euler's method from sigma s0 to s1 is x1 = x0 + (s1 - s0) d with d = (x0 - image) / s0
    for noise that is added (Karras et al. 2022) and d = noise - image for flow matching; in both
    the image is x1 - s1 d.
    """
    sigmas, index = getattr(scheduler, "sigmas", None), getattr(scheduler, "step_index", None)
    if not isinstance(sigmas, torch.Tensor) or sigmas.ndim != 1 or not index:
        return after
    if index >= len(sigmas):
        return after
    sigma = sigmas[index]
    if before is not None and not scheduler.config.get("stochastic_sampling"):
        return after - (after - before) * (sigma / (sigma - sigmas[index - 1]))
    adds_noise = float(getattr(scheduler, "init_noise_sigma", 1.0)) > 1
    return after / (sigma**2 + 1) ** 0.5 if adds_noise else after


# ------------------------------------------------------------------ the shape of latents


@dataclass(frozen=True, slots=True)
class _Shape:
    """Of the latents of one image or video, before they were packed. `is_packed`: as tokens of
    squares, whose features are (channel, y, x)."""

    channels: int
    height: int
    width: int
    frames: int = 1
    is_packed: bool = False
    frames_come_first: bool = False

    @classmethod
    def of(cls, latents: torch.Tensor, channels: int, packed: Sequence[_Shape]) -> _Shape | None:
        """The shape of latents with so many channels; None where it is unknown. `packed` are the
        shapes of what this call has packed."""
        match tuple(latents.shape):
            case _, found, height, width if found == channels:
                return cls(channels, height, width)
            case _, found, frames, height, width if found == channels:
                return cls(channels, height, width, frames)
            case _, frames, found, height, width if found == channels:
                return cls(channels, height, width, frames, frames_come_first=True)
            case _, tokens, features:
                fitting = (s for s in packed if s.channels == channels)
                return next((s for s in fitting if s._fits(tokens, features)), None)
            case _:
                return None

    @property
    def shown(self) -> int:
        """The frame that is shown, from 0: the one in the middle."""
        return self.frames // 2

    def _fits(self, tokens: int, features: int) -> bool:
        side = isqrt(features // self.channels)
        return (
            side**2 * self.channels == features
            and tokens * side**2 == self.frames * self.height * self.width
            and self.height % side == self.width % side == 0
        )

    def grid(self, latents: torch.Tensor) -> torch.Tensor:
        """(c, h, w) of the first image, or of one frame of the first video."""
        first = latents[0].detach()
        if self.is_packed:
            side = isqrt(first.shape[-1] // self.channels)
            rows, columns = self.height // side, self.width // side
            tokens = first.reshape(self.frames, rows, columns, self.channels, side, side)
            first = tokens[self.shown].permute(2, 0, 3, 1, 4).flatten(3).flatten(1, 2)
        elif first.ndim == 4:
            first = first[self.shown] if self.frames_come_first else first[:, self.shown]
        return first.float()


@contextmanager
def _packing(pipeline: Any) -> Iterator[list[_Shape]]:
    """The shapes of the latents that the pipeline packs meanwhile: packed ones do not tell them."""
    shapes: list[_Shape] = []
    pack = getattr(pipeline, "_pack_latents", None)
    if pack is None:
        yield shapes
        return

    signature = inspect.signature(pack)

    def noted(latents: torch.Tensor, *rest: Any, **named: Any) -> Any:
        given = signature.bind(latents, *rest, **named).arguments
        if "num_channels_latents" in given:
            names = ("num_channels_latents", "height", "width")
            channels, height, width = (given[name] for name in names)
            frames = latents.numel() // (given["batch_size"] * channels * height * width)
            shapes.append(_Shape(channels, height, width, frames, is_packed=True))
        elif latents.ndim in (4, 5):
            _, channels, *deep, height, width = latents.shape
            shapes.append(_Shape(channels, height, width, prod(deep), is_packed=True))
        return pack(latents, *rest, **named)

    pipeline._pack_latents = noted
    try:
        yield shapes
    finally:
        del pipeline._pack_latents


def _png(pixels: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    # Level 1 takes a fifth of the time of the default, for a tenth more bytes.
    Image.fromarray(pixels.numpy()).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
