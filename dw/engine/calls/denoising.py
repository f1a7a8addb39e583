"""Denoising: the model of a pipeline that does it, its steps, and the passes of each step."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline

from dw.engine.python.signatures import call_parameters
from dw.errors import RunFailed

MODELS = ("transformer", "transformer_ref")
"""The components that step caches are for; the first that exists."""


def denoiser(pipeline: DiffusionPipeline) -> torch.nn.Module:
    """The transformer. Raises RunFailed when there is none."""
    for name in MODELS:
        if isinstance(model := getattr(pipeline, name, None), torch.nn.Module):
            return model
    raise RunFailed(f"{type(pipeline).__name__} has no transformer, which step caches are for")


def denoising_steps(cls: Any, arguments: Mapping[str, Any]) -> int:
    """How many steps a call with these arguments does; a strength below 1 leaves out the first
    ones. Raises RunFailed when that is unknown."""
    parameters = call_parameters(cls)

    def given(name: str) -> Any:
        default = parameters[name].default if name in parameters else None
        return arguments.get(name, default)

    for name in ("sigmas", "timesteps"):
        if (schedule := given(name)) is not None:
            return len(schedule)
    steps, strength = given("num_inference_steps"), given("strength")
    if type(steps) is not int:
        raise RunFailed(
            f"a step cache needs 'num_inference_steps' among {cls.__name__}'s arguments"
        )
    return steps if strength is None else steps - int(max(steps - min(steps * strength, steps), 0))


def tells_passes(cls: Any) -> bool:
    """Whether the pipeline itself names the passes of a step to the caches."""
    return "cache_context" in getattr(_code(cls), "co_names", ())


def joins_passes(cls: Any) -> bool:
    """Whether the pipeline does the passes with and without the prompt in one batch."""
    return "cond_uncond" in getattr(_code(cls), "co_consts", ())


def _code(cls: Any) -> Any:
    return getattr(inspect.unwrap(cls.__call__), "__code__", None)


class Passes:
    """Counts the calls of a model. Several at one timestep are the passes of one step, such as
    those with the prompt and the negative prompt."""

    def __init__(self) -> None:
        self.steps = 0  # that were begun
        self.current = 0  # the pass of this step, from 0
        self._timestep: torch.Tensor | None = None

    def begin(self, timestep: Any) -> None:
        if isinstance(timestep, torch.Tensor):
            last, self._timestep = self._timestep, timestep.clone()
            if last is not None and torch.equal(last, timestep):
                self.current += 1
                return
        self.current = 0
        self.steps += 1


@contextmanager
def counted(model: torch.nn.Module, *, named: bool) -> Iterator[Passes]:
    """`named`: names each pass to the caches on the model, because the pipeline does not."""
    passes, context = Passes(), ExitStack()

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_forward(_: torch.nn.Module, __: Any, arguments: Mapping[str, Any]) -> None:
        passes.begin(arguments.get("timestep"))
        if named:
            context.close()
            context.enter_context(model.cache_context(f"pass {passes.current}"))  # type: ignore[operator]

    handle = model.register_forward_pre_hook(before_forward, with_kwargs=True)
    try:
        yield passes
    finally:
        handle.remove()
        context.close()
