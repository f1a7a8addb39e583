"""Finite values: a watch over what a call computes, for NaN and infinities. The file would not
show them: diffusers makes a black image of NaN, and of an infinity a white one.

A sum is finite when all of its terms are. So each value costs one reduction on its device and no
wait for it; the sums are read at the end of the call, and before that once in `INTERVAL_S`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from diffusers import SchedulerMixin

from dw.engine.cancellation import RunControl
from dw.engine.media.audio import Audio
from dw.engine.media.video import Video
from dw.engine.python.overriding import Method, overridden
from dw.types import Spoiled

INTERVAL_S = 1.0
"""Reading a sum waits for the device, as rarely as not to be noticed in a run."""

DENOISERS = ("transformer", "unet", "prior", "decoder")
"""The components that compute the latents; the first that exists."""


class FiniteWatch:
    """Calls `tell` with the first value of a call that is not finite; it may raise."""

    def __init__(self, control: RunControl, tell: Callable[[Spoiled], None]) -> None:
        self._control = control
        self._tell: Callable[[Spoiled], None] | None = tell
        self._sums: list[tuple[Spoiled, torch.Tensor, bool]] = []
        self._suspect: Spoiled | None = None
        self._batch = 0  # of the latents
        self._read_at = time.monotonic()

    def saw(self, value: Spoiled, output: Any, *, is_sure: bool = True) -> None:
        """Take note of the first tensor of a model's output. One that `is_sure` not to be finite
        spoils the result; another one may be at places that nothing reads."""
        tensor = _first_tensor(output)
        if self._tell is None or tensor is None or tensor.numel() == 0:
            return
        self._sums.append((value, _sums(tensor), is_sure))
        if time.monotonic() - self._read_at >= INTERVAL_S:
            self.read()

    def read(self) -> None:
        """Wait for the sums so far."""
        for value, sums, is_sure in self._sums:
            wrong = [
                number for number, each in enumerate(sums.tolist(), 1) if not np.isfinite(each)
            ]
            if wrong and self._suspect is None:
                are_samples = len(wrong) < len(sums) == self._batch
                samples = tuple(wrong) if are_samples else ()
                self._suspect = replace(value, samples=samples, batch=self._batch or 1)
            if wrong and is_sure and self._tell is not None:
                assert self._suspect is not None
                tell, self._tell = self._tell, None  # once in a call
                tell(self._suspect)
        self._sums.clear()
        self._read_at = time.monotonic()

    def stepping(self, denoiser: str | None) -> Callable[[Method], Method]:
        def make(step: Method) -> Method:
            def stepped(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
                output = step(scheduler, *args, **kwargs)
                if (latents := _first_tensor(output)) is not None:
                    self._batch = len(latents) if latents.ndim > 1 else 1
                steps = self._control.steps
                number = min(self._control.step + 1, steps)
                self.saw(Spoiled("the latents", denoiser, number, steps), output)
                return output

            return stepped

        return make

    def decoding(self, names: Mapping[int, str]) -> Callable[[Method], Method]:
        def make(decode: Method) -> Method:
            def decoded(model: Any, *args: Any, **kwargs: Any) -> Any:
                output = decode(model, *args, **kwargs)
                if (name := names.get(id(model))) is not None:
                    self.saw(Spoiled(f"the output of {name!r}", name), output)
                    self.read()  # before it becomes an image, for which it leaves the device anyway
                return output

            return decoded

        return make

    def encoding(self, name: str) -> Callable[[Any, Any, Any], None]:
        # Not compiled, so that graphs stay whole.
        @torch.compiler.disable  # type: ignore[untyped-decorator]
        def after_forward(_model: Any, _args: Any, output: Any) -> None:
            self.saw(Spoiled(f"the output of {name!r}", name), output, is_sure=False)

        return after_forward  # type: ignore[no-any-return]


@contextmanager
def watching_values(
    pipeline: Any, control: RunControl, tell: Callable[[Spoiled], None]
) -> Iterator[FiniteWatch]:
    """Watch the latents, and what the encoders and decoders of a pipeline compute."""
    watch = FiniteWatch(control, tell)
    components = getattr(pipeline, "components", {})
    parts = components if isinstance(components, Mapping) else {}
    schedulers = {type(part) for part in parts.values() if isinstance(part, SchedulerMixin)}
    models = {name: part for name, part in parts.items() if isinstance(part, torch.nn.Module)}
    decoders = {id(part): name for name, part in models.items() if hasattr(part, "decode")}
    denoiser = next((name for name in DENOISERS if name in models), None)
    with ExitStack() as stack:
        for cls in schedulers:
            stack.enter_context(overridden(cls, "step", watch.stepping(denoiser)))
        for cls in {type(part) for part in models.values() if id(part) in decoders}:
            stack.enter_context(overridden(cls, "decode", watch.decoding(decoders)))
        for name, part in models.items():
            if "encoder" in name and id(part) not in decoders:
                stack.callback(part.register_forward_hook(watch.encoding(name)).remove)
        yield watch
        watch.read()


def spoiled(value: Any) -> str | None:
    """The part of a result or of arguments that is not finite, in words; None if there is none."""
    for name, part in _numbers(value, "the result"):
        if isinstance(part, torch.Tensor):
            total = part.sum(dtype=torch.promote_types(part.dtype, torch.float32))
        else:
            with np.errstate(all="ignore"):
                total = part.sum(dtype=np.promote_types(part.dtype, np.float32))
        if not np.isfinite(float(total)):
            return name
    return None


def _numbers(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """The floats, arrays and tensors of floats in a value, each with the name of its place."""
    match value:
        case torch.Tensor() if value.is_floating_point():
            yield name, value
        case np.ndarray() if np.issubdtype(value.dtype, np.floating):
            yield name, value
        case float() | np.floating():
            yield name, np.float64(value)
        case Audio():
            yield "the audio", value.samples
        case Video():
            yield from _numbers(value.frames, "the frames")
            yield from _numbers(value.audio, name)
        case Mapping():
            for key, member in value.items():
                yield from _numbers(member, repr(key))
        case list() | tuple():
            for member in value:
                yield from _numbers(member, name)
        case _:
            pass


def _first_tensor(output: Any) -> torch.Tensor | None:
    """The main value of a model's output: a tensor of floats, or the first of several values."""
    while isinstance(output, Mapping | tuple | list) and output:
        output = next(iter(output.values() if isinstance(output, Mapping) else output))
    is_tensor = isinstance(output, torch.Tensor) and output.is_floating_point()
    return output if is_tensor else None


def _sums(tensor: torch.Tensor) -> torch.Tensor:
    """(batch): the sum of each sample. In float32, where no sum of finite float16 overflows."""
    dims = tuple(range(1, tensor.ndim))
    return tensor.sum(dim=dims, dtype=torch.promote_types(tensor.dtype, torch.float32)).reshape(-1)


def remedies(pipeline: Any, value: Spoiled) -> list[str]:
    """What helps against a value that is not finite, as far as the model shows it."""
    model = getattr(pipeline, value.component, None) if value.component else None
    if not isinstance(model, torch.nn.Module):
        return []
    name, dtype = value.component, getattr(model, "dtype", None)
    if any(map(_is_spoiled, model.parameters())):
        return [f"the weights of {name!r} are not finite themselves: load it from another file"]
    if dtype is not torch.float16:
        return []
    if hasattr(model, "decode"):
        dtypes = f'{{"default": "torch.float16", "{name}": "torch.float32"}}'
        return [f'"torch_dtype": {dtypes} in from_pretrained_arguments loads {name!r} in float32']
    return [f"{name!r} is in float16, which overflows: torch.bfloat16 has the range of float32"]


def _is_spoiled(weight: torch.Tensor) -> bool:
    """Whether a weight of a usual dtype, on any device, is not finite."""
    if weight.dtype not in (torch.float16, torch.bfloat16, torch.float32) or weight.is_meta:
        return False
    return not np.isfinite(float(weight.detach().sum(dtype=torch.float32)))
