"""Stopping a run where nothing is left half done.

A cancel is a flag on the run's own object. It is looked at only where the libraries' state is
consistent: before the forward of each component, between denoising steps, between components being
loaded, and between iterations and steps of the workflow. A picture made after a cancel equals one
made before it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline


class Cancelled(BaseException):
    """The run was asked to stop and did. Not an Exception: pipelines catch those.

    `step` of `steps` is the last denoising step that was done, 0 of 0 before the first.
    """

    def __init__(self, step: int = 0, steps: int = 0) -> None:
        super().__init__(f"cancelled after step {step} of {steps}")
        self.step = step
        self.steps = steps


class RunControl:
    """One run's cancel flag and last progress. `cancel` may be called in any thread, at any
    time."""

    def __init__(self, run_id: int = 0) -> None:
        self.run_id = run_id
        self.step = 0
        self.steps = 0
        self._is_cancelled = False

    def cancel(self) -> None:
        self._is_cancelled = True

    def check(self) -> None:
        """Raises Cancelled once `cancel` was called."""
        if self._is_cancelled:
            raise Cancelled(self.step, self.steps)

    def stepped(self, step: int, steps: int) -> None:
        self.step, self.steps = step, steps


@contextmanager
def watching(pipeline: DiffusionPipeline, control: RunControl) -> Iterator[None]:
    """Make every forward of a component of `pipeline` a place where the run can be cancelled."""

    # Not compiled, so that graphs stay whole, even with fullgraph=True.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def before_forward(_module: torch.nn.Module, _args: Any) -> None:
        # Returns None: a hook's other value would replace the inputs.
        control.check()

    handles = [m.register_forward_pre_hook(before_forward) for m in _watched(pipeline)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watched(pipeline: DiffusionPipeline) -> Iterator[torch.nn.Module]:
    for component in pipeline.components.values():
        if isinstance(component, DiffusionPipeline):
            yield from _watched(component)
        elif isinstance(component, torch.nn.Module):
            yield component
            if not hasattr(component, "decode"):
                continue
            # Pipelines call vae.decode(), which goes past the hooks of the VAE itself; the nets
            # inside run once per tile or frame, so a long decode can be stopped too.
            for name in ("encoder", "decoder"):
                if isinstance(inner := getattr(component, name, None), torch.nn.Module):
                    yield inner
