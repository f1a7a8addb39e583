"""Ending a run where nothing is left half done: a cancel gives it up, a stop keeps its picture.

Both are flags on the run's own object. A cancel is looked at only where the libraries' state is
consistent: before the forward of each component, between denoising steps, between components being
loaded, and between iterations and steps of the workflow. A picture made after a cancel equals one
made before it.

A stop is for the workflow step that runs when it comes, or the first one when it comes before. Its
denoising ends after the step that is being done, at least the first one, and the picture is decoded
and saved; a text that is being written ends with its next token. The iterations that it has left
are skipped, as are those of the steps around it when it is in a sub-workflow; the steps after it
run whole, on what there is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch._dynamo import OptimizedModule

from dw.engine.models.live_models import modules


class Cancelled(BaseException):
    """The run was asked to stop and did. Not an Exception: pipelines catch those.

    `step` of `steps` is the last denoising step that was done, 0 of 0 before the first. `cause`
    tells why, where it was not the user's wish.
    """

    def __init__(self, step: int = 0, steps: int = 0, cause: str | None = None) -> None:
        why = f": {cause}" if cause else ""
        super().__init__(f"cancelled after step {step} of {steps}{why}")
        self.step = step
        self.steps = steps


class RunControl:
    """One run's flags and last progress. `cancel` and `stop` may be called in any thread, at any
    time."""

    def __init__(self, run_id: int = 0) -> None:
        self.run_id = run_id
        self.step = 0
        self.steps = 0
        self._is_cancelled = False
        self._cause: str | None = None
        self._is_stopping = False

    def cancel(self, cause: str | None = None) -> None:
        self._cause = cause
        self._is_cancelled = True

    def stop(self) -> None:
        """End the denoising early and keep the picture. Two before the first is taken are one."""
        self._is_stopping = True

    def take_stop(self) -> bool:
        """Whether `stop` was called since the last time this was asked."""
        if not self._is_stopping:
            return False  # without touching it: another thread may be just setting it
        self._is_stopping = False
        return True

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called."""
        if self._is_cancelled:
            raise Cancelled(self.step, self.steps, self._cause)

    def stepped(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps


@contextmanager
def watching(pipeline: DiffusionPipeline, control: RunControl) -> Iterator[None]:
    """Make every forward of a component of `pipeline` a place where the run can be cancelled."""
    with watching_modules(watched([pipeline]), control.check):
        yield


@contextmanager
def watching_modules(
    modules: Iterable[torch.nn.Module], check: Callable[[], None]
) -> Iterator[None]:
    """Call `check` before every forward of the modules; it may raise."""

    # Not compiled, so that graphs stay whole, even with fullgraph=True.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_forward(_module: torch.nn.Module, _args: Any) -> None:
        # Returns None: a hook's other value would replace the inputs.
        check()

    handles = [module.register_forward_pre_hook(before_forward) for module in modules]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def watched(components: Iterable[Any]) -> Iterator[torch.nn.Module]:
    """The modules among the components where a run can be cancelled, those of pipelines too."""
    for module in (module for component in components for module in modules(component)):
        yield module
        if not hasattr(module, "decode"):
            continue
        # Pipelines call vae.decode(), which goes past the hooks of the VAE itself. What is inside
        # runs for seconds where a picture is large, so its blocks are places, too.
        for name in ("encoder", "decoder"):
            if isinstance(inner := getattr(module, name, None), torch.nn.Module):
                yield from _blocks(inner)


def _blocks(net: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The net and its blocks, but for the layers; the inside of a compiled net is one graph."""
    if net._compiled_call_impl is not None or isinstance(net, OptimizedModule):
        yield net
    else:
        yield from (module for module in net.modules() if module is net or any(module.children()))
