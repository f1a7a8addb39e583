"""Adapter keys: the weights of a LoRA's file that no model of the pipeline takes.

diffusers passes over names that begin with no component of the pipeline, and logs those of layers
that a component does not have.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Keys:
    """The names of a file's weights as diffusers converts them, and those that have no place."""

    count: int = 0
    unused: list[str] = field(default_factory=list)


_keys: ContextVar[Keys | None] = ContextVar("keys", default=None)


@contextmanager
def recorded(pipeline: Any) -> Iterator[Keys]:
    """The keys of the LoRA that `pipeline` loads inside."""
    keys = Keys()
    starts = tuple(f"{name}." for name in pipeline._lora_loadable_modules)
    read = pipeline.lora_state_dict

    def lora_state_dict(*args: Any, **kwargs: Any) -> Any:
        found = read(*args, **kwargs)
        weights = found[0] if isinstance(found, tuple) else found
        keys.count += len(weights)
        keys.unused += [key for key in weights if not key.startswith(starts)]
        return found

    token = _keys.set(keys)
    pipeline.lora_state_dict = lora_state_dict  # on this object, above the method of its class
    try:
        yield keys
    finally:
        del pipeline.lora_state_dict
        _keys.reset(token)


def install() -> None:
    """Record what both libraries report of their own models."""
    of_diffusers: Any = importlib.import_module("diffusers.loaders.peft")
    of_diffusers._maybe_warn_for_unhandled_keys = _recording(
        of_diffusers._maybe_warn_for_unhandled_keys, lambda args, _: args[0]
    )
    of_transformers: Any = importlib.import_module("transformers.integrations.peft")
    of_transformers.log_state_dict_report = _recording(
        of_transformers.log_state_dict_report, lambda _, kwargs: kwargs["loading_info"]
    )


def _recording(report: Any, info_of: Any) -> Any:
    def recording(*args: Any, **kwargs: Any) -> Any:
        info = info_of(args, kwargs)
        unused = [] if info is None else info.unexpected_keys
        if (keys := _keys.get()) is not None:
            keys.unused += [key for key in unused if "lora_" in key or "lokr_" in key]
        return report(*args, **kwargs)

    return recording
