"""Offload hooks: they bring the weights of a module to the device once, in groups, or for each
call."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers import DiffusionPipeline
from diffusers.hooks import apply_group_offloading

from dw.engine.models.spec import Placement
from dw.engine.patches.weight_reading import moved

ENTRIES = ("encode", "decode", "generate")
"""Methods that pipelines call instead of a component's `forward`, or that call it many times."""


class OnDemand(ModelHook):  # type: ignore[misc]  # accelerate is not typed
    """Brings a module to `device` for each of its calls, and back to the host afterwards.

    Pipelines find the device to compute on in `execution_device`.
    """

    def __init__(self, device: torch.device) -> None:
        self.execution_device = device
        self._calls = 0  # of the module's entries, one inside the other
        self._is_there = False

    def pre_forward(self, module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        self._move(module, there=True)
        device = self.execution_device
        return send_to_device(args, device), send_to_device(kwargs, device)

    def post_forward(self, module: torch.nn.Module, output: Any) -> Any:
        if self._calls == 0:
            self._move(module, there=False)
        return output

    def during(self, module: torch.nn.Module, entry: Callable[..., Any]) -> Callable[..., Any]:
        """`entry`, with the module on the device during all of it."""

        @wraps(entry)
        def visiting(*args: Any, **kwargs: Any) -> Any:
            self._calls += 1
            try:
                args, kwargs = self.pre_forward(module, *args, **kwargs)
                return entry(*args, **kwargs)
            finally:
                self._calls -= 1
                self.post_forward(module, None)

        return visiting

    def rest(self, module: torch.nn.Module) -> None:
        """Back to the host, also when a call was interrupted."""
        self._calls = 0
        self._move(module, there=False)

    def _move(self, module: torch.nn.Module, *, there: bool) -> None:
        if there != self._is_there:
            module.to(self.execution_device if there else torch.device("cpu"))
            self._is_there = there


def placed(value: Any, placement: Placement | None) -> Any:
    """The component, moved to its placement. One that a whole pipeline offloads stays in host
    memory; the pipeline's hooks move it when it runs."""
    if placement is None or not isinstance(value, torch.nn.Module | DiffusionPipeline):
        return value
    if placement.offload == "group":
        _offload_groups(value, placement)
    elif placement.offload == "on_demand":
        _visit_on_demand(value, torch.device(placement.device))
    elif placement.offload is None and placement.device != "cpu":
        is_model = isinstance(value, torch.nn.Module)
        return (moved if is_model else DiffusionPipeline.to)(value, torch.device(placement.device))
    return value


def bring_home(value: Any) -> None:
    """Move a module and its submodules back to the host, if they were interrupted on the device."""
    for module in value.modules() if isinstance(value, torch.nn.Module) else ():
        if isinstance(hook := getattr(module, "_hf_hook", None), OnDemand):
            hook.rest(module)


def _offload_groups(module: Any, placement: Placement) -> None:
    arguments = {"onload_device": torch.device(placement.device), **placement.arguments}
    if "offload_device" in arguments:
        arguments["offload_device"] = torch.device(arguments["offload_device"])
    if hasattr(module, "enable_group_offload"):
        module.enable_group_offload(**arguments)
    else:
        apply_group_offloading(module, **arguments)


def _visit_on_demand(module: Any, device: torch.device) -> None:
    hook = OnDemand(device)
    add_hook_to_module(module, hook)
    for name in ENTRIES:
        if callable(entry := getattr(module, name, None)):
            setattr(module, name, hook.during(module, entry))
