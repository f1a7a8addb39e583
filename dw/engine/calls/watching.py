"""Cancel points: hooks that let a run be cancelled inside a call, where the libraries' state is
consistent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch._dynamo import OptimizedModule

from dw.engine.cancellation import RunControl
from dw.engine.models.live_models import modules


@contextmanager
def watching(pipeline: DiffusionPipeline, control: RunControl) -> Iterator[None]:
    """Make every forward of a component of `pipeline` a cancel point."""
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
    """The modules among the components that are cancel points, those of pipelines as well."""
    for module in (module for component in components for module in modules(component)):
        yield module
        if not hasattr(module, "decode"):
            continue
        # Pipelines call vae.decode(), which goes past the hooks of the VAE itself. What is inside
        # runs for seconds where an image is large, so its blocks are cancel points as well.
        for name in ("encoder", "decoder"):
            if isinstance(inner := getattr(module, name, None), torch.nn.Module):
                yield from _blocks(inner)


def _blocks(net: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The net and its blocks, not their layers; the inside of a compiled net is one graph."""
    if net._compiled_call_impl is not None or isinstance(net, OptimizedModule):
        yield net
    else:
        yield from (module for module in net.modules() if module is net or any(module.children()))
