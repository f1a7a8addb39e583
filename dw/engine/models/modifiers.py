"""Post-load changes: cut, cast, placed, compiled. They cannot be undone, so they are part of a
component's load spec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from diffusers.hooks import apply_layerwise_casting
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN

from dw.engine.models.offload_hooks import placed
from dw.engine.models.spec import ComponentSpec, Offload, PostLoadChange
from dw.engine.patches import progress_bars
from dw.engine.python import resolve
from dw.errors import RunFailed, did_you_mean

BEFORE_PLACING = ("truncate_layers", "remove_module", "cast_layerwise")
"""Changes that make a component smaller, before it is moved."""


def apply_changes(value: Any, spec: ComponentSpec) -> Any:
    """The loaded component after the changes and the placement of its spec."""
    _apply(value, (c for c in spec.changes if c.name in BEFORE_PLACING))
    value = placed(value, spec.placement)
    _apply(value, (c for c in spec.changes if c.name not in BEFORE_PLACING))
    return value


def _apply(value: Any, changes: Iterable[PostLoadChange]) -> None:
    for change in changes:
        try:
            _CHANGES[change.name](_module(value, change.path), **change.arguments)
        except _NoModule as error:
            if not change.is_optional:
                raise RunFailed(str(error)) from None
            progress_bars.warn(f"rehearsed without {change.name}: {error}")


class _NoModule(Exception):
    """There is no module at a path."""


def _module(root: torch.nn.Module, path: str) -> torch.nn.Module:
    try:
        return root.get_submodule(path)
    except AttributeError:
        hint = did_you_mean(path, [name for name, _ in root.named_modules()])
        raise _NoModule(f"{type(root).__name__} has no module {path!r}{hint}") from None


def _truncate_layers(module: torch.nn.Module, layers: str, keep: int) -> None:
    found = _module(module, layers)
    if not isinstance(found, torch.nn.ModuleList | torch.nn.Sequential):
        raise RunFailed(f"{layers!r} is a {type(found).__name__}, not a list of layers")
    module.set_submodule(layers, found[:keep])


def _remove_module(module: torch.nn.Module, removed: str) -> None:
    _module(module, removed)
    module.set_submodule(removed, torch.nn.Identity())


def _cast_layerwise(module: Any, storage_dtype: str, **arguments: Any) -> None:
    computes = arguments.pop("compute_dtype", None)
    storage = resolve.dtype(storage_dtype)
    compute = module.dtype if computes is None else resolve.dtype(computes)
    if (patterns := arguments.pop("skip_modules_pattern", None)) is not None:
        arguments["skip_modules_pattern"] = tuple(patterns)
    if hasattr(module, "enable_layerwise_casting"):
        module.enable_layerwise_casting(storage, compute, **arguments)
    else:
        skipped = arguments.pop("skip_modules_pattern", DEFAULT_SKIP_MODULES_PATTERN)
        skipped = (*skipped, *_kept_in_their_dtype(module))
        apply_layerwise_casting(module, storage, compute, skipped, **arguments)


def store_again(model: Any) -> None:
    """Cast the layers of layerwise casting to the dtype in which they are stored between calls. The
    loader of a UNet's IP-Adapters casts them all to the dtype in which they compute."""
    for layer in model.modules():
        registry = getattr(layer, "_diffusers_hook", None)
        if registry is not None and (hook := registry.get_hook("layerwise_casting")) is not None:
            layer.to(dtype=hook.storage_dtype)


def _kept_in_their_dtype(model: Any) -> Iterator[str]:
    """Patterns of the modules of a transformers model that keep their dtype, because other code
    reads it: that of the first weights is the model's own, and T5 casts the input of some
    layers."""
    yield from getattr(model, "_keep_in_fp32_modules", None) or ()
    first = next(weight for weight in model.parameters() if weight.is_floating_point())
    for name, module in model.named_modules(remove_duplicate=False):
        if any(weight is first for weight in module.parameters(recurse=False)):
            yield f"^{re.escape(name)}$"


def _place(module: torch.nn.Module, device: str, offload: Offload | None, **_: Any) -> None:
    # The whole component may have been moved already. Hooks come after the adapters.
    module.to(device if offload is None else "cpu")


def _optimize_sdnq(module: Any) -> None:
    if find_spec("triton") is None:
        progress_bars.warn("sdnq_optimize needs triton, which is not installed")
        return
    from sdnq.loader import apply_sdnq_options_to_model

    apply_sdnq_options_to_model(module, use_quantized_matmul=True)


def _compile(module: Any, repeated_blocks: bool = False, **arguments: Any) -> None:
    (module.compile_repeated_blocks if repeated_blocks else module.compile)(**arguments)


_CHANGES: dict[str, Callable[..., None]] = {
    "truncate_layers": _truncate_layers,
    "remove_module": _remove_module,
    "cast_layerwise": _cast_layerwise,
    "place": _place,
    "sdnq_optimize": _optimize_sdnq,
    "compile": _compile,
}
