"""TeaCache for FLUX.1, after Liu et al., "Timestep Embedding Tells: It's Time to Cache for Video
Diffusion Model", 2024.

The change of the first block's input from step to step, modulated by the timestep, predicts the
change of the output; a polynomial, fitted to the model, converts the one into the other. While the
changes since the last computed step add up to less than a threshold, the blocks are left out, and
what they added to their input in that step is added again. The first and the last step are always
computed, and so is the first block, whose input is measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxTransformer2DModel
from diffusers.hooks import HookRegistry, ModelHook

from dw.engine.calls.denoising import Passes, counted, denoiser, denoising_steps
from dw.errors import RunFailed
from dw.workflow.format.step_cache import TeaCache

COEFFICIENTS = {
    "flux": (498.651651, -283.781631, 55.8554382, -3.82021401, 0.264230861),
}
"""From the authors' TeaCache4FLUX, highest power first."""

_HOOK = "dw_teacache"


def why_unsupported(cls: type) -> str | None:
    """Why models of this class cannot have TeaCache."""
    is_flux = issubclass(cls, FluxTransformer2DModel)
    return None if is_flux else f"TeaCache is for FLUX.1, not for {cls.__name__}"


@contextmanager
def applied(
    pipeline: DiffusionPipeline, settings: TeaCache, arguments: Mapping[str, Any]
) -> Iterator[None]:
    """TeaCache for one call; afterwards the model is as before. Raises RunFailed for a model that
    is not FLUX.1's."""
    model = denoiser(pipeline)
    if message := why_unsupported(type(model)):
        raise RunFailed(message)
    assert isinstance(model, FluxTransformer2DModel)
    steps = denoising_steps(type(pipeline), arguments)
    with counted(model, named=False) as passes, _Steps(settings, steps, passes).on(model):
        yield


@dataclass
class _Pass:
    """What is kept of the last step, for one of its passes."""

    signal: torch.Tensor | None = None  # the modulated input of the first block
    distance: float = 0.0  # the sum of changes since the last computed step
    residual: torch.Tensor | None = None  # what the blocks added to their input


class _Steps:
    """Decides for each call of the model whether its blocks are computed."""

    def __init__(self, settings: TeaCache, steps: int, passes: Passes) -> None:
        self.is_skipped: bool  # decided before any block asks
        self.output: torch.Tensor | None = None  # of all blocks, in a step that is skipped
        self.input: torch.Tensor | None = None  # of the first block
        self._threshold = settings.rel_l1_thresh
        self._coefficients = settings.coefficients or COEFFICIENTS[settings.variant]
        self._steps = steps
        self._passes = passes
        self._kept: defaultdict[int, _Pass] = defaultdict(_Pass)

    @contextmanager
    def on(self, model: FluxTransformer2DModel) -> Iterator[None]:
        first, *others = blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
        with ExitStack() as stack:
            stack.callback(HookRegistry.check_if_exists_or_initialize(model).remove_hook, _HOOK)
            stack.callback(first.norm1.register_forward_hook(self._measure).remove)
            _register(first, _First(self))
            for block in others:
                _register(block, _Other(self, is_last=block is blocks[-1]))
            yield

    def _measure(self, _: torch.nn.Module, __: Any, output: tuple[torch.Tensor, ...]) -> None:
        """Measure the input of the first block, modulated by its norm, and decide."""
        kept, signal = self._kept[self._passes.current], output[0]
        is_edge = self._passes.steps in (1, self._steps)
        if kept.signal is not None:
            change = (signal - kept.signal).abs().mean() / kept.signal.abs().mean()
            kept.distance += max(0.0, polynomial(self._coefficients, change.item()))
        self.is_skipped = (
            not is_edge and kept.residual is not None and kept.distance < self._threshold
        )
        if not self.is_skipped:
            kept.distance = 0.0
        kept.signal = signal

    def skip(self) -> None:
        residual = self._kept[self._passes.current].residual
        assert self.input is not None
        assert residual is not None
        self.output = self.input + residual

    def keep(self, output: torch.Tensor) -> None:
        assert self.input is not None
        self._kept[self._passes.current].residual = output - self.input


class _First(ModelHook):  # type: ignore[misc]
    def __init__(self, steps: _Steps) -> None:
        super().__init__()
        self._steps = steps

    def new_forward(self, _: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        self._steps.input = kwargs["hidden_states"]
        output = self.fn_ref.original_forward(*args, **kwargs)
        if self._steps.is_skipped:
            self._steps.skip()
        return output


class _Other(ModelHook):  # type: ignore[misc]
    def __init__(self, steps: _Steps, *, is_last: bool) -> None:
        super().__init__()
        self._steps = steps
        self._is_last = is_last

    def new_forward(self, _: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        steps = self._steps
        if steps.is_skipped:
            return kwargs["encoder_hidden_states"], steps.output
        output = self.fn_ref.original_forward(*args, **kwargs)
        if self._is_last:
            steps.keep(output[1])
        return output


def polynomial(coefficients: Sequence[float], x: float) -> float:
    """Its value at x, highest power first, by Horner's rule."""
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


def _register(block: torch.nn.Module, hook: ModelHook) -> None:
    HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, _HOOK)
