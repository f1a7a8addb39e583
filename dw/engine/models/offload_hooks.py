"""Offload hooks: they bring the weights of a module to the device once, in groups, or for each
call."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from diffusers import DiffusionPipeline
from diffusers.hooks import apply_group_offloading

from dw.engine.models.offload_folder import own_folder
from dw.engine.models.spec import DISK, Placement
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

    def _move(self, module: torch.nn.Module, *, there: bool) -> None:
        if there != self._is_there:
            module.to(self.execution_device if there else torch.device("cpu"))
            self._is_there = there


def placed(value: Any, placement: Placement | None) -> Any:
    """The component, moved to its placement. One that is offloaded stays in host memory; hooks move
    it when it runs."""
    if placement is None or placement.offload is not None or placement.device == "cpu":
        return value
    if isinstance(value, torch.nn.Module):
        return moved(value, torch.device(placement.device))
    if isinstance(value, DiffusionPipeline):
        return value.to(torch.device(placement.device))
    return value


def offload(module: torch.nn.Module, placement: Placement) -> None:
    """Hook a module that is kept in host memory, so that it comes to the device when it runs."""
    assert placement.offload is not None
    _HOOKS[placement.offload](module, placement)


def _offload_groups(module: Any, placement: Placement) -> None:
    arguments = {"onload_device": torch.device(placement.device), **placement.arguments}
    if "offload_device" in arguments:
        arguments["offload_device"] = torch.device(arguments["offload_device"])
    if (folder := arguments.get(DISK)) is not None:
        arguments[DISK] = str(own_folder(Path(folder), module))
        _untie(module)
    if hasattr(module, "enable_group_offload"):
        module.enable_group_offload(**arguments)
    else:
        apply_group_offloading(module, **arguments)


def _untie(module: torch.nn.Module) -> None:
    """Give each layer weights of its own: of two layers in different groups that share theirs, the
    second would write them to its file when the first has freed them already."""
    seen: set[torch.Tensor] = set()
    for layer in module.modules():
        for weights in (vars(layer)["_parameters"], vars(layer)["_buffers"]):
            for name, weight in weights.items():
                if weight in seen:
                    weights[name] = copy.deepcopy(weight)
                elif weight is not None:
                    seen.add(weight)


def _visit_on_demand(module: Any, placement: Placement) -> None:
    hook = OnDemand(torch.device(placement.device))
    add_hook_to_module(module, hook)
    for name in ENTRIES:
        if callable(entry := getattr(module, name, None)):
            setattr(module, name, hook.during(module, entry))


_HOOKS: dict[str, Callable[[Any, Placement], None]] = {
    "group": _offload_groups,
    "on_demand": _visit_on_demand,
}
