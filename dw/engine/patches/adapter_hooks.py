"""Adapter hooks: the offload hooks of a pipeline's models stay as they are while a LoRA is loaded.

diffusers takes them off all models and puts them on again, for the sake of those that get the LoRA.
Here those have none: hooks go on above adapters. To the others it does harm. A model that is
offloaded by the blocks that its class names (`AutoencoderKL`) gets other names for its files on
disk, and they are written from memory that its weights have left.
"""

from __future__ import annotations

import importlib
from typing import Any

LOADERS = ("diffusers.loaders.lora_base", "diffusers.loaders.peft")
"""The modules that bind `_func_optionally_disable_offloading`: text encoders, other models."""


def install() -> None:
    """Have both loaders find no hooks."""
    for name in LOADERS:
        module: Any = importlib.import_module(name)
        module._func_optionally_disable_offloading = _no_offloading


def _no_offloading(_pipeline: Any) -> tuple[bool, bool, bool]:
    """No offload of whole models, of layers, or of groups."""
    return False, False, False
